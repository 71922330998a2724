"""Adapters: MongoDB, S3, the Hugging Face hub, local files and training processes."""
