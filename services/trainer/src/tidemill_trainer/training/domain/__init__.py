"""Plans, runs and recipes."""
