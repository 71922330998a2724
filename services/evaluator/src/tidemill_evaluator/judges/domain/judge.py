"""A judge: a model that scores answers by a rubric."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from tidemill_core.aggregate import Aggregate
from tidemill_core.errors import Violation
from tidemill_core.resources import SLUG, label_violations, refuse, slug_violations
from tidemill_evaluator.errors import CANCELLED, JudgeBusy, MeasurementLost
from tidemill_evaluator.judges.domain.agreement import JudgeAgreement
from tidemill_evaluator.judges.domain.drift import JudgeDrift
from tidemill_evaluator.judges.domain.measurement import JudgeMeasurement, MeasurementState

PREFIX = "judge:"
"""Of the metric that a judge computes: its id follows."""
_BIAS = ":position_bias"
MAX_RUBRIC_LENGTH = 8000
MAX_DESCRIPTION_LENGTH = 1000
MAX_CRITERIA = 10
MIN_MEMBERS, MAX_MEMBERS = 2, 9
DEFAULT_MIN_AGREEMENT = 0.4
"""Below it agreement is called fair at best (Landis and Koch 1977)."""
DEFAULT_SCALE, MIN_SCALE, MAX_SCALE = 5, 2, 10


class JudgeMode(Enum):
    """What is judged: one answer by points, or two against each other."""

    POINTWISE = "pointwise"
    PAIRWISE = "pairwise"


class JudgeInput(Enum):
    """What a judge reads beside question and answer."""

    REFERENCE = "reference"
    PASSAGES = "passages"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeCriterion:
    """What a judge gives 1 to `scale` points for; 0 is the default."""

    name: str
    description: str = ""
    scale: int = 0

    @property
    def points(self) -> int:
        """The highest points."""
        return self.scale or DEFAULT_SCALE


DEFAULT_CRITERIA = (JudgeCriterion(name="quality"),)


@dataclass(slots=True, kw_only=True)
class Judge(Aggregate):
    """Changes of what it judges by make the next version; numbers are never reused."""

    deployment: str = ""
    mode: JudgeMode = JudgeMode.POINTWISE
    rubric: str = ""
    criteria: tuple[JudgeCriterion, ...] = ()
    reads: tuple[JudgeInput, ...] = ()
    members: tuple[str, ...] = ()
    """Of a jury: other judges, whose median counts."""
    min_agreement: float = 0.0
    """0 is the default."""
    may_judge_itself: bool = False
    number: int = 0
    """Number of the current version, from 1."""
    agreement: JudgeAgreement | None = None
    """Of the version that was measured last."""
    measurement: JudgeMeasurement | None = None
    """Under way, or the last one."""
    drift: JudgeDrift | None = None
    """Of the last check."""

    @property
    def metric(self) -> str:
        """The metric that its scores are."""
        return metric_of(self.id)

    @property
    def asked(self) -> tuple[JudgeCriterion, ...]:
        """The criteria, with the default."""
        return self.criteria or DEFAULT_CRITERIA

    @property
    def image(self) -> str:
        """What it judges by, for comparisons and digests."""
        criteria = [[each.name, each.description, each.points] for each in self.asked]
        reads = sorted(each.value for each in self.reads)
        return json.dumps([self.deployment, self.mode.value, self.rubric, criteria, reads, *self.members])

    def version_with(self, configuration: str) -> str:
        """Return the version that it is while its deployment has the configuration with this digest."""
        digest = hashlib.sha256(f"{self.image}\n{configuration}".encode()).hexdigest()
        return f"{self.id}@{self.number}-{digest[:12]}"

    @property
    def required_agreement(self) -> float:
        """The agreement that it needs to decide in a gate."""
        return self.min_agreement or DEFAULT_MIN_AGREEMENT

    def begin_measurement(self, *, queue: str, field: str) -> None:
        """Have it measured.

        Raises:
            JudgeBusy: it is.

        """
        before = self.measurement
        if before is not None and before.state is MeasurementState.RUNNING:
            raise JudgeBusy(self.id)
        number, completed = (before.number + 1, before.completed) if before else (1, 0)
        self.measurement = JudgeMeasurement(queue=queue, field=field, number=number, completed=completed)

    def claim_measurement(self, epoch: int) -> None:
        """Assign the measurement to the worker with this lease epoch.

        Raises:
            MeasurementLost: a later epoch has it, or there is none.

        """
        found = self.measurement
        if found is None or found.state is not MeasurementState.RUNNING or epoch < found.epoch:
            raise MeasurementLost(self.id)
        self.measurement = replace(found, epoch=epoch, message="")

    def measuring(self, epoch: int) -> JudgeMeasurement:
        """Return the measurement of the worker with this epoch.

        Raises:
            MeasurementLost: a later one has it, or it has ended.

        """
        found = self.measurement
        if found is None or found.state is not MeasurementState.RUNNING or epoch != found.epoch:
            raise MeasurementLost(self.id)
        return found

    def report_measurement(self, epoch: int, **facts: int | str) -> None:
        """Record progress, or what it waits for."""
        self.measurement = replace(self.measuring(epoch), **facts)  # type: ignore[arg-type] # its fields

    def fail_measurement(self, epoch: int, *, reason: str, message: str) -> None:
        """End the measurement without a result."""
        self.measurement = self.measuring(epoch).failed(reason=reason, message=message)

    def complete_measurement(self, epoch: int, agreement: JudgeAgreement) -> None:
        """Record the agreement."""
        found = self.measuring(epoch)
        self.measurement = replace(found, state=MeasurementState.COMPLETED, completed=found.number, message="")
        self.agreement, self.drift = agreement, None

    def restart_measurement(self) -> None:
        """Have another worker go on with the measurement: this one has read what is not there any more."""
        found = self.measurement
        if found is not None and found.state is MeasurementState.RUNNING:
            self.measurement = replace(found, epoch=found.epoch + 1)

    def stop_measurement(self, message: str) -> bool:
        """End the measurement for whichever worker has it; return whether there was one."""
        found = self.measurement
        if found is None or found.state is not MeasurementState.RUNNING:
            return False
        self.measurement = found.failed(reason=CANCELLED, message=message)
        return True

    def check(self) -> None:
        """Refuse a judge that cannot judge.

        Raises:
            InvalidInput: naming every field that breaks its rule.

        """
        refuse(self._violations())

    def _violations(self) -> Iterator[Violation]:
        yield from slug_violations("judge.id", self.id)
        yield from label_violations("judge.labels", self.labels)
        if self.members:
            yield from self._jury_violations()
        else:
            yield from slug_violations("judge.deployment", self.deployment)
        if not self.members and not self.rubric.strip():
            yield Violation("judge.rubric", "is empty: say what a good answer is, and what a bad one")
        elif len(self.rubric) > MAX_RUBRIC_LENGTH:
            text = f"has {len(self.rubric)} characters; the limit is {MAX_RUBRIC_LENGTH}"
            yield Violation("judge.rubric", text)
        if len(set(self.reads)) != len(self.reads):
            yield Violation("judge.reads", "names an input twice: name each once")
        if not 0 <= self.min_agreement <= 1:
            text = f"is {self.min_agreement}: send more than 0, up to 1, or 0 for {DEFAULT_MIN_AGREEMENT}"
            yield Violation("judge.min_agreement", text)
        yield from self._criteria_violations()

    def _jury_violations(self) -> Iterator[Violation]:
        if not MIN_MEMBERS <= len(self.members) <= MAX_MEMBERS:
            text = f"has {len(self.members)} entries: name {MIN_MEMBERS} to {MAX_MEMBERS} other judges"
            yield Violation("judge.members", text)
        if len(set(self.members)) != len(self.members) or self.id in self.members:
            yield Violation("judge.members", "names a judge twice, or itself: name each other judge once")
        for place, each in enumerate(self.members[:MAX_MEMBERS]):
            yield from slug_violations(f"judge.members[{place}]", each)
        for name in ("deployment", "rubric", "criteria", "reads", "may_judge_itself"):
            if getattr(self, name):
                yield Violation(f"judge.{name}", "is of a judge alone: a jury judges by its members")

    def _criteria_violations(self) -> Iterator[Violation]:
        if self.criteria and self.mode is JudgeMode.PAIRWISE:
            text = "are for POINTWISE judges: leave them out, and say in the rubric what to compare"
            yield Violation("judge.criteria", text)
        if len(self.criteria) > MAX_CRITERIA:
            yield Violation("judge.criteria", f"has {len(self.criteria)} entries; the limit is {MAX_CRITERIA}")
        names = [each.name for each in self.criteria]
        for place, each in enumerate(self.criteria[:MAX_CRITERIA]):
            where = f"judge.criteria[{place}]"
            yield from slug_violations(f"{where}.name", each.name)
            if each.name in names[:place]:
                yield Violation(f"{where}.name", "is a duplicate: names are unique in a judge")
            if len(each.description) > MAX_DESCRIPTION_LENGTH:
                text = f"has {len(each.description)} characters; the limit is {MAX_DESCRIPTION_LENGTH}"
                yield Violation(f"{where}.description", text)
            if each.scale and not MIN_SCALE <= each.scale <= MAX_SCALE:
                text = f"is {each.scale}: send {MIN_SCALE} to {MAX_SCALE}, or 0 for {DEFAULT_SCALE}"
                yield Violation(f"{where}.scale", text)


def metric_of(judge: str) -> str:
    """Return the metric that the scores of a judge are."""
    return f"{PREFIX}{judge}"


def judge_in(metric: str) -> str:
    """Return the judge whose scores a metric is; "" of all other metrics."""
    name = metric.removeprefix(PREFIX)
    return name if name != metric and SLUG.fullmatch(name) else ""


def position_bias_of(judge: str) -> str:
    """Return the score that is 1 where a pairwise judge preferred another answer in the other order, else 0."""
    return f"{metric_of(judge)}{_BIAS}"


def is_position_bias(metric: str) -> bool:
    """Return whether a metric is the position bias of a judge."""
    return metric.endswith(_BIAS) and bool(judge_in(metric.removesuffix(_BIAS)))
