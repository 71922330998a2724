"""What rollouts need: candidates, outcomes, leases."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from tidemill_core.application import Caller, ResourceKey
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.domain.outcome import AnswerOutcome
from tidemill_inference.rollouts.domain.changes import IndexChange
from tidemill_inference.rollouts.domain.step_counts import Outcome, ServerEnd


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


class CandidatePrompts(Protocol):
    """The versions of the project's prompts, read without a cache."""

    async def check(self, caller: Caller, prompt: str, *, before: str) -> frozenset[str]:
        """Return the subjects that made a `prompt@version`, which may take the place of another one.

        Raises:
            PromptNotReady: it is not there, or takes other variables than that: says why.

        """
        ...

    async def check_approved(self, caller: Caller, prompt: str) -> None:
        """Refuse a `prompt@version` that people still have to agree to.

        Raises:
            ApprovalMissing: says how many, and of which role.
            PromptNotReady: it is not there.

        """
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


class DeclaredMetrics(Protocol):
    """The metrics that the project declares for its feedback."""

    async def check(self, caller: Caller, metric: str, *, field: str) -> timedelta:
        """Refuse a metric that cannot compare answers; return after how long its values count, 0 for at once.

        Raises:
            InvalidInput: there is none of that name, it is of conversations, or none of its values is better.
            DependencyUnavailable: feedback does not answer.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """What was said of an inference; of the same feedback the one with the highest `seq` is valid."""

    feedback: str
    seq: int
    inference: str
    rollout: str
    metric: str
    score: float | None
    """0 (worst) to 1 (best); None if it was withdrawn, or counts no more."""
    weight: float = 1.0
    end_user: str = ""
    """Who gave it, where that is the person who asked: kept as a digest."""
    mature_time: datetime | None = None


class Outcomes(Protocol):
    """The outcomes of answers in rollouts: one small document per inference; recording is idempotent."""

    async def record(self, project: str, outcome: Outcome) -> None:
        """Record the outcome of an answer, replacing an earlier one of the same inference. Its values are kept."""
        ...

    async def react(self, project: str, reaction: Reaction) -> None:
        """Record a value, also before the outcome itself, replacing an earlier one of the same feedback."""
        ...

    async def retract(self, project: str, reaction: Reaction) -> None:
        """Take back a value that was recorded, and who said it, unless a later one has replaced it."""
        ...

    async def record_end(self, project: str, end: ServerEnd) -> None:
        """Keep that a server ended in a step, once."""
        ...

    async def ends(self, project: str, rollout: str, step: int) -> int:
        """Return how many servers' ends were kept of a step; `trim` leaves them."""
        ...

    async def of_step(self, project: str, rollout: str, step: int, *, newest: int | None = None) -> Sequence[Outcome]:
        """Return a step's outcomes, or the newest of them, each with its values."""
        ...

    async def of_end_user(self, project: str, end_user: str, *, validate_only: bool = False) -> int:
        """Erase values that an end user gave, some at a time, and return of how many answers; or count those.

        In experiments the outcomes of what the user asked go whole.
        """
        ...

    async def mark(self, project: str, rollout: str, step: int) -> object:
        """Return a change token of the step's outcomes and ends, which skips counting them again."""
        ...

    async def trim(self, project: str, rollout: str, step: int, *, newest: int, before: datetime) -> None:
        """Delete all outcomes of the step but about the newest, and what will never count.

        That are outcomes of earlier steps, and values from before a time whose outcomes are not there.
        """
        ...

    async def remove(self, project: str, inference: str) -> None:
        """Delete the outcome of an answer, whose user was erased."""
        ...

    async def of_run(self, project: str, run: str) -> Sequence[Outcome]:
        """Return the outcomes of all epochs of a run of an experiment, each with its values."""
        ...

    async def mark_of_run(self, project: str, run: str) -> object:
        """Return a change token of them."""
        ...

    async def forget(self, project: str, rollout: str) -> None:
        """Delete the outcomes of an ended rollout or run, whose counts are in the deployment or the experiment."""
        ...

    async def quiet(self, *, since: datetime) -> Sequence[tuple[str, str]]:
        """Return project and id of each rollout with outcomes, none of which was recorded or reacted to since then."""
        ...


class ErasedEndUsers(Protocol):
    """Which end users were erased, so that what is late is not kept."""

    async def __call__(self, project: str, end_users: Collection[str], /) -> Mapping[str, datetime]:
        """Return, of those that were, until when what came of them is not to be kept."""
        ...


async def no_erased_end_users(_project: str, _end_users: Collection[str], /) -> Mapping[str, datetime]:
    """Return that none was erased."""
    return {}


AnsweredIn = Callable[[str, str], Awaitable[str]]
"""Returns the run of an experiment that an inference of a project was part of; "" of another, and of none."""


async def answered_in_none(_project: str, _inference: str) -> str:
    """Return that it was part of none."""
    return ""


RunningExperiments = Callable[[], Awaitable[Sequence[tuple[str, str]]]]
"""Returns project and run of all experiments that run, of all projects."""


async def no_experiments() -> Sequence[tuple[str, str]]:
    """Return that none runs."""
    return []


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
