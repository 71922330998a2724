"""The measurement of a judge: work of one worker at a time, until its agreement is known or it has failed."""

from dataclasses import dataclass, replace
from enum import Enum


class MeasurementState(Enum):
    """COMPLETED and FAILED are final."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeMeasurement:
    """`epoch` is that of its worker's lease."""

    queue: str
    field: str
    number: int = 1
    """Among the judge's measurements: judgements of another one are not this one's."""
    completed: int = 0
    """The number of the last one that was completed; 0 for none."""
    state: MeasurementState = MeasurementState.RUNNING
    epoch: int = 0
    judged: int = 0
    items: int = 0
    reason: str = ""
    message: str = ""

    def failed(self, *, reason: str, message: str) -> "JudgeMeasurement":
        """Return it without a result."""
        return replace(self, state=MeasurementState.FAILED, reason=reason, message=message)
