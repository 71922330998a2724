"""How long projects keep kinds of data."""
