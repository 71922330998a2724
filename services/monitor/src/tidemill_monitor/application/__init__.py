"""Use cases: record events, read lineage and timelines, delete old answers."""
