"""Why a training makes nothing, in the words of TrainingRun.reason."""

from pathlib import Path
from traceback import extract_tb


class TrainingStopped(Exception):
    """A training that cannot go on; its message carries no text of users."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def stopped_by(error: Exception) -> TrainingStopped:
    """Return what an error that was raised means; of any other, type and place, because its text may be of users."""
    if isinstance(error, TrainingStopped):
        return error
    text = str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        message = "the machine has no memory left for it: use a smaller batch, max_length or base"
        return TrainingStopped(message, reason="OUT_OF_MEMORY")
    *_, place = extract_tb(error.__traceback__)
    message = f"{type(error).__name__} in {place.name} ({Path(place.filename).name}, line {place.lineno})"
    return TrainingStopped(message, reason="CRASHED")
