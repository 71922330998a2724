"""State: aggregates in MongoDB, objects in S3."""
