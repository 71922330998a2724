"""Time spans of loop.yaml as messages, and back."""

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

UNITS_S = {"d": 86400, "h": 3600, "m": 60, "s": 1}
"""The units of loop.yaml in seconds, the longest first."""


def duration_of(span: timedelta | None) -> Duration | None:
    """Return a time span; None is none."""
    if span is None:
        return None
    duration = Duration()
    duration.FromTimedelta(span)
    return duration


def span_of(duration: Duration) -> str:
    """Return a time span as loop.yaml has it, as a whole number of the longest unit that it is one of; "" is none."""
    seconds = duration.seconds
    return next((f"{seconds // size}{unit}" for unit, size in UNITS_S.items() if seconds and not seconds % size), "")
