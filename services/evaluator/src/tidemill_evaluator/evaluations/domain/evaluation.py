"""An evaluation: compares a candidate with the live configuration on the same cases and passages."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.application import derived_id
from tidemill_evaluator.errors import (
    BASELINE_CHANGED,
    CANCELLED,
    DATA_ERASED,
    EvaluationFinished,
    EvaluationLost,
    NoVerdict,
)
from tidemill_evaluator.evaluations.domain.comparison import Comparison, Latencies, Verdict, verdict_of
from tidemill_evaluator.gates.domain.gate import CONFIDENCE, Gate, Requirement
from tidemill_evaluator.suites.domain.cases import CaseSet


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationHasStarted(Event):
    """Baseline and cases are pinned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationHasCompleted(Event):
    """There is a verdict; the evidence is in the evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationHasFailed(Event):
    """There is no verdict; the reason is in the evaluation."""


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
    """What is compared. Without a gate it uses `suites`; an empty baseline is the live model."""

    deployment: str
    candidate: str
    gate: str = ""
    suites: tuple[str, ...] = ()
    require: tuple[Requirement, ...] = ()
    confidence: float = CONFIDENCE
    baseline: str = ""

    @classmethod
    def of(cls, gate: Gate, candidate: str) -> "Comparing":
        """Return what a gate compares of a candidate."""
        return cls(
            gate=gate.id,
            deployment=gate.deployment,
            candidate=candidate,
            require=gate.require,
            confidence=gate.confidence,
        )

    @property
    def required_suites(self) -> list[str]:
        """All suites without repeats, in the order of the requirements."""
        return list(dict.fromkeys([*(each.suite for each in self.require if each.suite), *self.suites]))

    @property
    def required_datasets(self) -> list[str]:
        """All datasets without repeats."""
        return list(dict.fromkeys(each.dataset for each in self.require if each.dataset))


@dataclass(slots=True, kw_only=True)
class Evaluation(Aggregate):
    """QUEUED until a worker has pinned baseline and cases, then RUNNING, then final."""

    comparing: Comparing
    gate: str
    """Copy from `comparing`, for filters of lists."""
    candidate: str
    """Copy from `comparing`, for filters of lists."""
    origin: str
    """Cause of the first attempt; ids of further attempts derive from it."""
    attempt: int = 1
    asked_by: str = ""
    """Digest of the request that created it; empty if an event did."""
    requester: str = ""
    """The subject of the credential that started its first attempt; empty if an event did."""
    state: State = State.QUEUED
    dataset_version: str = ""
    baseline: str = ""
    """`model@version`; pinned at the start, as its configuration is."""
    baseline_configuration: str = ""
    """Digest of the live configuration, which both sides use except for the model."""
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
    """Lease epoch of the worker; writes of other epochs are refused."""

    @classmethod
    def queued(  # noqa: PLR0913 - all of it is known at once, and fixed from then on
        cls,
        project: str,
        comparing: Comparing,
        *,
        origin: str,
        attempt: int = 1,
        asked_by: str = "",
        requester: str = "",
        dataset_version: str = "",
    ) -> "Evaluation":
        """Return a new evaluation; its id derives from its cause and the attempt."""
        return cls(
            id=derived_id(project, "evaluation", origin, str(attempt)),
            project=project,
            comparing=comparing,
            gate=comparing.gate,
            candidate=comparing.candidate,
            origin=origin,
            attempt=attempt,
            asked_by=asked_by,
            requester=requester,
            dataset_version=dataset_version,
        )

    @property
    def seed(self) -> int:
        """Return the id as a number."""
        return int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:4], "big")

    @property
    def cases(self) -> int:
        """Total number of cases."""
        return sum(case_set.size for case_set in self.case_sets)

    @property
    def required_sets(self) -> list[CaseSet]:
        """Sets of cases with a requirement."""
        suites = {each.suite for each in self.comparing.require if each.suite}
        datasets = {each.dataset for each in self.comparing.require if each.dataset}
        return [each for each in self.case_sets if (each.suite in suites if each.suite else each.dataset in datasets)]

    def claim(self, epoch: int) -> None:
        """Assign the evaluation to the worker with this lease epoch.

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
        """Pin baseline and cases."""
        self.refuse_unless_claimed(epoch)
        if self.state is State.RUNNING:
            return
        self.state, self.message = State.RUNNING, ""
        self.baseline, self.baseline_configuration = baseline, baseline_configuration
        self.dataset_version, self.case_sets = dataset_version, tuple(case_sets)
        self.pending.append(EvaluationHasStarted(occurred_at=now))

    def progress(self, answered: int, *, remaining_s: float | None, epoch: int) -> None:
        """Record progress; it never decreases."""
        self.refuse_unless_claimed(epoch)
        self.message = ""
        self.answered, self.remaining_s = max(self.answered, answered), remaining_s

    def wait(self, message: str, *, epoch: int) -> None:
        """Record what it waits for."""
        self.refuse_unless_claimed(epoch)
        self.message, self.remaining_s = message, None

    def complete(
        self, comparisons: Sequence[Comparison], *, latencies: Latencies | None = None, now: datetime, epoch: int
    ) -> None:
        """Record the verdict."""
        self.refuse_unless_claimed(epoch)
        self.latencies = latencies
        self.comparisons, self.verdict = tuple(comparisons), verdict_of(comparisons)
        self._finish(State.COMPLETED, now, EvaluationHasCompleted(occurred_at=now))
        sampled = [each for each in self.case_sets if each.whole]
        self.message = "; ".join(f"{each.size} of {each.whole} cases of {each.name} are sampled" for each in sampled)

    def fail(self, *, reason: str, message: str, now: datetime, epoch: int) -> None:
        """Fail without a verdict."""
        self.refuse_unless_claimed(epoch)
        self._finish(State.FAILED, now, EvaluationHasFailed(occurred_at=now))
        self.reason, self.message = reason, message

    def cancel(self, now: datetime) -> None:
        """Cancel it; no effect if it is already cancelled.

        Raises:
            EvaluationFinished: it ended otherwise.

        """
        if self.state is State.CANCELLED:
            return
        if self.state not in UNFINISHED:
            raise EvaluationFinished(self.id, state=self.state.value)
        self._finish(State.CANCELLED, now, EvaluationHasFailed(occurred_at=now))
        self.reason, self.message = CANCELLED, "cancelled by a user"

    def withdraw(self, now: datetime) -> None:
        """Fail it because cases that it asks are erased.

        Raises:
            EvaluationFinished: it has ended.

        """
        if self.state not in UNFINISHED:
            raise EvaluationFinished(self.id, state=self.state.value)
        self._finish(State.FAILED, now, EvaluationHasFailed(occurred_at=now))
        self.reason, self.message = DATA_ERASED, "cases were erased while they were asked: start it again"

    def refuse_other(self, configuration: str) -> None:
        """Check that a configuration of the deployment is the one that is compared with.

        Raises:
            NoVerdict: it is another one.

        """
        if configuration != self.baseline_configuration:
            message = f"the live configuration of {self.comparing.deployment} changed since the evaluation started"
            raise NoVerdict(BASELINE_CHANGED, message)

    def refuse_unless_claimed(self, epoch: int) -> None:
        """Check that the worker with this epoch may write.

        Raises:
            EvaluationLost: a later one has it, or it has ended.

        """
        if epoch != self.epoch or self.state not in UNFINISHED or self.deleted:
            raise EvaluationLost(self.id)

    def _finish(self, state: State, now: datetime, event: Event) -> None:
        self.state, self.finish_time, self.remaining_s, self.message = state, now, None, ""
        self.pending.append(event)
