"""The trainer service: model registry and fine-tuning."""
