"""Why a training makes nothing, in the words of TrainingRun.reason."""


class TrainingStopped(Exception):
    """A training that cannot go on; its message carries no text of users."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def stopped_by(error: Exception) -> TrainingStopped | None:
    """Return what an error of torch means, None where it means nothing in particular."""
    if isinstance(error, TrainingStopped):
        return error
    text = str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in text:
        message = "the machine has no memory left for it: use a smaller batch, max_length or base"
        return TrainingStopped(message, reason="OUT_OF_MEMORY")
    return None
