"""What neither tree nor trace tells: data files, and what reads them. No model is built here."""
