"""The evaluator: trusted cases, gates, and whether a candidate is really better than what is live."""
