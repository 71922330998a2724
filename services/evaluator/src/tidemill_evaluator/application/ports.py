"""What evaluator needs from outside."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidemill_evaluator.domain.cases import Case, CaseAnswer, CaseResult, CaseSet, Context
from tidemill_evaluator.domain.comparison import Interval
from tidemill_evaluator.domain.evaluation import Evaluation
from tidemill_evaluator.domain.gate import CandidateGates, Gate
from tidemill_evaluator.domain.suite import Suite
from tidemill_kit.core.aggregate import ObjectRef
from tidemill_kit.core.application import Aggregates

Suites = Aggregates[Suite]
Gates = Aggregates[Gate]
GatesOfCandidates = Aggregates[CandidateGates]
Evaluations = Aggregates[Evaluation]


class SuiteCases(Protocol):
    """The cases of suites, as immutable objects."""

    async def put(self, project: str, suite: str, cases: Sequence[Case]) -> ObjectRef:
        """Store the cases; the same again is stored again."""
        ...


class Cases(Protocol):
    """Reads sets of cases, wherever they lie."""

    async def read(self, project: str, case_set: CaseSet) -> Sequence[Case]:
        """Return the cases in their order; where the set is a sample, always the same ones.

        Raises:
            ObjectMissing: they were erased.
            ObjectDamaged, PermissionDenied: the reference is not to be trusted.
            InvalidInput: they are too many bytes, or no cases.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What answers for a deployment now, and how long an answer of it may take."""

    digest: str
    model: str
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A passage as inference found it, with its text, to be given to the other side."""

    id: str
    document: str
    version: int
    start: int
    end: int
    text: str
    score: float = 0.0
    source: str = ""
    key: str = ""
    title: str = ""
    uri: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of a deployment; an empty variant asks what is live, no passages lets it search."""

    request_id: str
    deployment: str
    text: str
    context: Context
    deadline_s: float
    variant: str = ""
    passages: Sequence[Passage] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer, and what gave it. `whole` is False where its record no longer has the texts.

    `total_s` is what it took without the search, in which the sides do not differ.
    """

    inference: str
    text: str
    configuration: str
    model: str
    citation_valid: float | None
    passages: Sequence[Passage]
    whole: bool
    total_s: float = 0.0
    max_concurrent: int = 0
    """How many might be under way with it; set by the one who asked."""


class Inference(Protocol):
    """The inference service. Raises the kit's errors, as it answers them; DependencyUnavailable where it does not."""

    async def live(self, project: str, deployment: str) -> Live:
        """Return what is live.

        Raises:
            NotFound: there is no such deployment.

        """
        ...

    async def ask(self, project: str, question: Question) -> Answer:
        """Return the answer; the same request id again returns the same one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A registered model version. `dataset_version` is what it was trained on, empty for others."""

    ready: bool
    dataset_version: str


class Models(Protocol):
    """The registry of the trainer."""

    async def version(self, project: str, version: str) -> Version:
        """Return a version.

        Raises:
            NotFound: there is none.

        """
        ...


class Datasets(Protocol):
    """The datasets of ingest."""

    async def held_out(self, project: str, dataset_version: str) -> CaseSet:
        """Return the held-out part of a dataset's version.

        Raises:
            NotFound: there is none.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialResult:
    """What is known of one case: at first the baseline's answer and its passages, then the whole result."""

    baseline: CaseAnswer
    passages: Sequence[Passage] = ()
    candidate: CaseAnswer | None = None

    def result(self, case_set: str, case: str) -> CaseResult | None:
        """Return the result, once both sides are there."""
        if self.candidate is None:
            return None
        return CaseResult(case_set=case_set, case=case, baseline=self.baseline, candidate=self.candidate)


@dataclass(frozen=True, slots=True)
class CaseName:
    """One case of an evaluation."""

    case_set: str
    case: str


class CaseResults(Protocol):
    """Results of single cases, kept as they come; every write is fenced by the lease's epoch."""

    async def read(self, project: str, evaluation: str, names: Sequence[CaseName]) -> Mapping[CaseName, PartialResult]:
        """Return what is known of these cases."""
        ...

    async def keep(self, project: str, evaluation: str, name: CaseName, kept: PartialResult, *, epoch: int) -> None:
        """Keep what is known of a case.

        Raises:
            EvaluationLost: a later epoch was there.

        """
        ...


class Scores(Protocol):
    """Scores that need a library."""

    async def rouge_l(self, reference: str, texts: Sequence[str]) -> Sequence[float]:
        """Return ROUGE-L (F-measure) of each text."""
        ...


class Intervals(Protocol):
    """Intervals that hold the mean with at least their confidence."""

    async def of_mean(self, differences: Sequence[float], *, confidence: float, bounded: bool) -> Interval:
        """Return the interval of the mean of at least one paired difference, each of another question.

        Bounded differences are all between -1 and 1. The same differences give the same interval, in any order.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationName:
    """One evaluation, across projects: what a worker works on."""

    project: str
    evaluation: str

    @property
    def key(self) -> str:
        """Return the name, in which no part has a slash."""
        return f"{self.project}/{self.evaluation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateName:
    """One gate, across projects."""

    project: str
    gate: str

    @property
    def key(self) -> str:
        """Return the name, in which no part has a slash."""
        return f"{self.project}/{self.gate}"


Enqueue = Callable[[EvaluationName], None]
