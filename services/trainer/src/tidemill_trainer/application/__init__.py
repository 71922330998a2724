"""Use cases of trainer, one per file."""
