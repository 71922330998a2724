"""The lineage graph, and what each event adds to it."""

from tidemill_monitor.lineage.domain import answers, documents, harness_runs, retrieval, training

__all__ = ["answers", "documents", "harness_runs", "retrieval", "training"]
"""They register what their events add."""
