"""Domain of trainer: models, versions, plans, runs and their rules."""
