"""Time spans of loop.yaml as messages."""

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration


def duration_of(span: timedelta | None) -> Duration | None:
    """Return a time span; None is none."""
    if span is None:
        return None
    duration = Duration()
    duration.FromTimedelta(span)
    return duration
