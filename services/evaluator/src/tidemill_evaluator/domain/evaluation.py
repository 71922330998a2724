"""An evaluation: a candidate compared with what is live, on the same cases and passages."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from tidemill_evaluator.domain.cases import CaseSet
from tidemill_evaluator.domain.comparison import Comparison, Latencies, Verdict, verdict_of
from tidemill_evaluator.domain.errors import CANCELLED, EvaluationFinished, EvaluationLost
from tidemill_evaluator.domain.gate import CONFIDENCE, Requirement
from tidemill_kit.core.aggregate import Aggregate, Event


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationHasStarted(Event):
    """Both sides are being asked; what they are is in the evaluation, and fixed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationHasCompleted(Event):
    """There is a verdict, with its evidence in the evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationHasFailed(Event):
    """It came to no verdict; the reason is in the evaluation."""


class State(Enum):
    """COMPLETED, FAILED and CANCELLED are final."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = frozenset({State.QUEUED, State.RUNNING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparing:
    """What is compared. Without a gate it was asked for by hand, on `suites`; an empty baseline is what is live."""

    deployment: str
    candidate: str
    gate: str = ""
    suites: tuple[str, ...] = ()
    require: tuple[Requirement, ...] = ()
    confidence: float = CONFIDENCE
    baseline: str = ""

    @property
    def required_suites(self) -> list[str]:
        """Every suite once, those of requirements in their order."""
        return list(dict.fromkeys([*(each.suite for each in self.require if each.suite), *self.suites]))

    @property
    def required_datasets(self) -> list[str]:
        """Every dataset once."""
        return list(dict.fromkeys(each.dataset for each in self.require if each.dataset))


@dataclass(slots=True, kw_only=True)
class Evaluation(Aggregate):
    """QUEUED until a worker has fixed baseline and cases, RUNNING while both sides are asked, then final."""

    comparing: Comparing
    gate: str
    """As in `comparing`; lists filter by it."""
    candidate: str
    """As in `comparing`; lists filter by it."""
    origin: str
    """What made the first attempt: ids of further ones derive from it."""
    attempt: int = 1
    asked_by: str = ""
    """The digest of the request that began it; empty where an event did."""
    state: State = State.QUEUED
    dataset_version: str = ""
    baseline: str = ""
    """`model@version`; fixed when it begins, as its configuration is."""
    baseline_configuration: str = ""
    """The digest of what is live, by which both sides answer but for the model."""
    case_sets: tuple[CaseSet, ...] = ()
    answered: int = 0
    remaining_s: float | None = None
    comparisons: tuple[Comparison, ...] = ()
    latencies: Latencies | None = None
    verdict: Verdict | None = None
    reason: str = ""
    message: str = ""
    finish_time: datetime | None = None
    epoch: int = 0
    """The lease epoch of the worker that does it: only that worker's writes count."""

    @property
    def seed(self) -> int:
        """Return the id as a number."""
        return int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:4], "big")

    @property
    def cases(self) -> int:
        """Cases in all."""
        return sum(case_set.size for case_set in self.case_sets)

    @property
    def required_sets(self) -> list[CaseSet]:
        """The sets of cases that requirements are about."""
        suites = {each.suite for each in self.comparing.require if each.suite}
        datasets = {each.dataset for each in self.comparing.require if each.dataset}
        return [each for each in self.case_sets if (each.suite in suites if each.suite else each.dataset in datasets)]

    def claim(self, epoch: int) -> None:
        """Let the worker of this lease epoch do it.

        Raises:
            EvaluationLost: a later epoch has it, or nothing is left to do.

        """
        if epoch < self.epoch or self.state not in UNFINISHED or self.deleted:
            raise EvaluationLost(self.id)
        self.epoch = epoch

    def begin(  # noqa: PLR0913 - all of it is fixed at once
        self,
        *,
        baseline: str,
        baseline_configuration: str,
        dataset_version: str,
        case_sets: Sequence[CaseSet],
        now: datetime,
        epoch: int,
    ) -> None:
        """Fix what is compared on what."""
        self._refuse_unless_claimed(epoch)
        if self.state is State.RUNNING:
            return
        self.state, self.message = State.RUNNING, ""
        self.baseline, self.baseline_configuration = baseline, baseline_configuration
        self.dataset_version, self.case_sets = dataset_version, tuple(case_sets)
        self.pending.append(EvaluationHasStarted(occurred_at=now))

    def progress(self, answered: int, *, remaining_s: float | None, epoch: int) -> None:
        """Return how far it is; it never goes back."""
        self._refuse_unless_claimed(epoch)
        self.message = ""
        self.answered, self.remaining_s = max(self.answered, answered), remaining_s

    def wait(self, message: str, *, epoch: int) -> None:
        """Say what it waits for."""
        self._refuse_unless_claimed(epoch)
        self.message, self.remaining_s = message, None

    def complete(
        self, comparisons: Sequence[Comparison], *, latencies: Latencies | None = None, now: datetime, epoch: int
    ) -> None:
        """Give the verdict."""
        self._refuse_unless_claimed(epoch)
        self.latencies = latencies
        self.comparisons, self.verdict = tuple(comparisons), verdict_of(comparisons)
        self._finish(State.COMPLETED, now, EvaluationHasCompleted(occurred_at=now))
        sampled = [each for each in self.case_sets if each.whole]
        self.message = "; ".join(f"{each.size} of {each.whole} cases of {each.name} were asked" for each in sampled)

    def fail(self, *, reason: str, message: str, now: datetime, epoch: int) -> None:
        """Come to no verdict."""
        self._refuse_unless_claimed(epoch)
        self._finish(State.FAILED, now, EvaluationHasFailed(occurred_at=now))
        self.reason, self.message = reason, message

    def cancel(self, now: datetime) -> None:
        """Stop it; what was cancelled stays so.

        Raises:
            EvaluationFinished: it ended otherwise.

        """
        if self.state is State.CANCELLED:
            return
        if self.state not in UNFINISHED:
            raise EvaluationFinished(self.id, state=self.state.value)
        self._finish(State.CANCELLED, now, EvaluationHasFailed(occurred_at=now))
        self.reason, self.message = CANCELLED, "somebody stopped it"

    def _finish(self, state: State, now: datetime, event: Event) -> None:
        self.state, self.finish_time, self.remaining_s, self.message = state, now, None, ""
        self.pending.append(event)

    def _refuse_unless_claimed(self, epoch: int) -> None:
        if epoch != self.epoch or self.state not in UNFINISHED or self.deleted:
            raise EvaluationLost(self.id)
