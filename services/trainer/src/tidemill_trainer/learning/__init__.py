"""The training process: `python -m tidemill_trainer.learning <job.json>`, started by a worker."""
