"""The erasure, and its certificate."""
