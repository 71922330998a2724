"""The monitor: consumes all topics and records lineage."""
