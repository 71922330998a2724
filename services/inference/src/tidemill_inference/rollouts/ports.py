"""What rollouts need: candidates, outcomes, leases."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tidemill_core.application import Caller, ResourceKey
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.domain.outcome import AnswerOutcome
from tidemill_inference.rollouts.domain.rollout import IndexChange
from tidemill_inference.rollouts.domain.step_counts import Outcome


class Candidates(Protocol):
    """The trainer's registry, read without a cache: a candidate must exist when it is promoted."""

    async def check(self, caller: Caller, model: str) -> None:
        """Refuse a `model@version` that is not ready, or was deleted.

        Raises:
            CandidateNotReady: says why.
            DependencyUnavailable: the trainer does not answer.

        """
        ...

    async def check_approved(self, caller: Caller, model: str) -> None:
        """Refuse a `model@version` that people still have to agree to, itself or the base of an adapter.

        Raises:
            ApprovalMissing: says how many, and of which role.
            CandidateNotReady: it was deleted.
            DependencyUnavailable: the trainer does not answer.

        """
        ...

    async def authors(self, caller: Caller, model: str) -> frozenset[str]:
        """Return the subjects that made the version, as far as they are known; raises as `check`."""
        ...


class Indexes(Protocol):
    """rag's index versions, read without a cache."""

    async def live(self, caller: Caller, collection: str, index: int) -> int:
        """Return the number of the live index version, where `index` is live or can be made so.

        Raises:
            IndexNotReady: it is neither; says why.
            DependencyUnavailable: rag does not answer.

        """
        ...

    async def promote(self, caller: Caller, change: IndexChange) -> None:
        """Make what is pending live, if it is not; a call that is late changes nothing that was decided since.

        Raises:
            IndexNotReady: it is retired, or the collection was deleted.
            LiveIndexChanged: none of the two that the change is between is live.
            DependencyUnavailable: rag does not answer.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenRating:
    """A rating of an inference; of the same feedback the one with the highest `seq` is valid."""

    feedback: str
    seq: int
    inference: str
    rollout: str
    number: float | None
    """None if it was withdrawn."""


class Outcomes(Protocol):
    """The outcomes of answers in rollouts: one small document per inference; recording is idempotent."""

    async def record(self, project: str, outcome: Outcome) -> None:
        """Record the outcome of an answer, replacing an earlier one of the same inference. Ratings are kept."""
        ...

    async def rate(self, project: str, rating: GivenRating) -> None:
        """Record a rating, also before the outcome itself, replacing an earlier one of the same feedback."""
        ...

    async def of_step(self, project: str, rollout: str, step: int, *, newest: int | None = None) -> Sequence[Outcome]:
        """Return a step's outcomes, or the newest of them, each with the mean of its ratings."""
        ...

    async def mark(self, project: str, rollout: str, step: int) -> object:
        """Return a change token of the step's outcomes, which skips counting them again."""
        ...

    async def trim(self, project: str, rollout: str, step: int, *, newest: int) -> None:
        """Delete all outcomes of the step but about the newest."""
        ...

    async def forget(self, project: str, rollout: str) -> None:
        """Delete the outcomes of an ended rollout, whose counts are in the deployment."""
        ...

    async def quiet(self, *, since: datetime) -> Sequence[tuple[str, str]]:
        """Return project and id of each rollout with outcomes, none of which was recorded or rated since then."""
        ...


class ActiveRollouts(Protocol):
    """The deployments with an active rollout, of all projects."""

    async def all(self) -> Sequence[ResourceKey]:
        """Return them all."""
        ...


Enqueue = Callable[[ResourceKey], None]
"""Called with a deployment whose rollout is to be reconciled soon."""


def enqueues_nothing(_deployment: ResourceKey) -> None:
    """Do nothing: the controller polls."""


Shadow = Callable[[AnswerOutcome], Awaitable[Inference]]
"""Has the candidate answer a copy of a question that was answered."""
