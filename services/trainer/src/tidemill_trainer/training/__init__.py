"""Training plans and runs."""
