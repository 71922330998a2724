"""What happens to a run, as others learn of it."""

from dataclasses import dataclass

from tidemill_core.aggregate import Event
from tidemill_trainer.training.domain.fit import ExampleCounts, Fit


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWasQueued(Event):
    """The run waits for a worker, for the first time or again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHasSucceeded(Event):
    """The run registered a version."""

    model_version: str
    seconds: float
    loss: float | None
    fit: Fit | None = None
    examples: ExampleCounts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHasFailed(Event):
    """The run failed or was cancelled."""

    reason: str
    message: str
