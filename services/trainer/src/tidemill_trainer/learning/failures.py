"""Failures of a training, with the reasons of TrainingRun.reason."""

from pathlib import Path
from traceback import extract_tb

DISK_FULL = "DISK_FULL"
"""A run waits until there is place."""


class TrainingStopped(Exception):
    """The training failed; the message contains no users' texts."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def stopped_by(error: Exception, *, smaller: str = "use a smaller batch, max_length or base") -> TrainingStopped:
    """Classify an exception; an unknown one is described by type and place, since its text may quote users.

    `smaller` says how less memory would do.
    """
    if isinstance(error, TrainingStopped):
        return error
    text = str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        return TrainingStopped(f"the machine is out of memory: {smaller}", reason="OUT_OF_MEMORY")
    *_, place = extract_tb(error.__traceback__)
    message = f"{type(error).__name__} in {place.name} ({Path(place.filename).name}, line {place.lineno})"
    return TrainingStopped(message, reason="CRASHED")
