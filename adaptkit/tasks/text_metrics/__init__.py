"""Scores of texts: answers to questions, captions, choices. Pure functions first, then the sets that recipes name."""
