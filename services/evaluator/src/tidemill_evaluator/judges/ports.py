"""Ports of judges."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidemill_core.application import Aggregates, Caller, ResourceKey
from tidemill_evaluator.judges.domain.form import Form, Material
from tidemill_evaluator.judges.domain.judge import Judge

Judges = Aggregates[Judge]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeDeployment:
    """The live configuration of the deployment that a judge asks."""

    configuration: str
    """Its digest."""
    model: str
    """`model@version`."""
    deadline_s: float
    searches: str = ""
    """The collection that it searches; "" for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedJudge:
    """A judge with the configuration that judges: only both together are a version."""

    judge: Judge
    deployment: JudgeDeployment
    """Of a jury an empty one."""
    members: Sequence["PinnedJudge"] = ()
    """Of a jury."""

    @property
    def version(self) -> str:
        """The version, as evaluations pin it."""
        return self.judge.version_with("/".join([self.deployment.configuration, *(m.version for m in self.members)]))

    @property
    def judging(self) -> Sequence["PinnedJudge"]:
        """Those that judge: itself, or the members of a jury."""
        return self.members or (self,)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeAnswer:
    """What a judge's model said, and which configuration and model said it."""

    text: str
    configuration: str
    model: str
    whole: bool
    """False where only its record is left, which has no text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewField:
    """A field of a review queue by which a judge can be measured: yes or no, or a number between two bounds."""

    name: str
    boolean: bool = False
    low: float = 0.0
    high: float = 1.0

    def share(self, number: float) -> float:
        """Return where a number lies between the bounds, from 0 to 1."""
        return min(1.0, max(0.0, (number - self.low) / (self.high - self.low)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledItem:
    """An answer, and what people resolved of it, from 0 to 1."""

    id: str
    inference: str
    label: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedItem:
    """What people and a judge say of an answer; no text of it is kept. `score` None: the judge did not judge it."""

    item: str
    inference: str
    end_user: str
    label: float
    score: float | None
    again: float | None = None
    """The score when it was judged once more, of some: how far the judge repeats itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One measurement of a judge in one version."""

    judge: str
    version: str
    measurement: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An answer as it was recorded, and who asked."""

    material: Material
    end_user: str
    model: str = ""
    """`model@version` that answered."""


class ReviewQueues(Protocol):
    """Client of feedback's review queues. Raises DependencyUnavailable if feedback is unavailable."""

    async def fields(self, caller: Caller, queue: str) -> Mapping[str, ReviewField] | None:
        """Return the fields by which a judge can be measured; None where there is no such queue."""
        ...

    async def labelled(self, caller: Caller, queue: str, field: ReviewField, *, limit: int) -> Sequence[LabelledItem]:
        """Return the latest resolved answers that have the field."""
        ...


class Records(Protocol):
    """Client of inference's records."""

    async def read(self, caller: Caller, inference: str) -> Record | None:
        """Return a record; None where it is gone, has no texts, or is a turn of a conversation."""
        ...


class JudgedItems(Protocol):
    """Stores the judgements of measurements as they arrive."""

    async def read(self, project: str, measured: Measured) -> Mapping[str, JudgedItem]:
        """Return those of a measurement, by item."""
        ...

    async def keep(self, project: str, measured: Measured, judged: JudgedItem) -> None:
        """Store one; a repeated one replaces it."""
        ...

    async def forget_others(self, project: str, judge: str, *, measurements: Sequence[int]) -> None:
        """Remove those of the judge's other measurements."""
        ...


class Bounds(Protocol):
    """Bounds of a mean."""

    @property
    def low(self) -> float: ...  # noqa: D102 - see the class
    @property
    def high(self) -> float: ...  # noqa: D102 - see the class


class DisagreementIntervals(Protocol):
    """Confidence intervals of a mean."""

    async def of_mean(self, differences: Sequence[float], *, confidence: float, bounded: bool) -> Bounds:
        """Return the interval of the mean of numbers in [-1, 1]."""
        ...


EnqueueJudge = Callable[[ResourceKey], None]
"""Enqueues the measurement of a judge for its controller."""


class JudgeModels(Protocol):
    """The inference service. Raises inference's errors as the kit's, and DependencyUnavailable if it is unavailable."""

    async def deployment(self, caller: Caller, deployment: str) -> JudgeDeployment:
        """Return what is live.

        Raises:
            NotFound: there is no such deployment.

        """
        ...

    async def ask(
        self, caller: Caller, deployment: str, form: Form, *, request_id: str, deadline_s: float
    ) -> JudgeAnswer:
        """Return the answer to a form; idempotent by request id. Records of it keep no text."""
        ...
