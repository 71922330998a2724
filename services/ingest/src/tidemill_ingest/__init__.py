"""Ingest: where documents come in, are cleaned and masked, and get their versions."""
