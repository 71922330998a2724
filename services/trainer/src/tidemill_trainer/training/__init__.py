"""What runs in the process that trains: `python -m tidemill_trainer.training <job.json>`, started by the worker."""
