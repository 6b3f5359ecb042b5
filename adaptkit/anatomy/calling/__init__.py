"""What a backbone reads, and one way to call all of them."""
