"""Answers questions from documents, under a name that products call."""
