"""The trainer: which models there are, and in which versions. Training comes to live here."""
