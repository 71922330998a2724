"""Runs as one comparable history: what they were made of, how they went, and in the formats of other tools."""
