"""The training process: `python -m tidemill_trainer.training <job.json>`, started by the worker."""
