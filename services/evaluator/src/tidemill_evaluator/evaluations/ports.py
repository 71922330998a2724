"""Ports of evaluations."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from tidemill_core.application import Aggregates, Caller, ResourceKey
from tidemill_evaluator.evaluations.domain.asked_by import AS_DEPLOYED, PromptText, VariantSampling
from tidemill_evaluator.evaluations.domain.comparison import Comparison, Interval
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.exposure import Exposure
from tidemill_evaluator.evaluations.domain.power import Bound, Power
from tidemill_evaluator.evaluations.domain.results import CaseAnswer, CaseResult
from tidemill_evaluator.suites.domain.cases import CaseSet, Context, DocumentVersion

Evaluations = Aggregates[Evaluation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """A deployment's live configuration and deadline; `index` 0 searches what is live of the collection."""

    digest: str
    model: str
    deadline_s: float
    prompt: str = ""
    """`prompt@number`."""
    collection: str = ""
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A retrieved passage with its text, to be reused for the other side."""

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
    collection: str = ""

    @property
    def name(self) -> DocumentVersion:
        """What it is of."""
        return DocumentVersion(self.document, self.version, self.collection)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request to a deployment.

    An empty variant is the live configuration. Without passages inference searches: `index`, or 0 for what is live.
    """

    request_id: str
    deployment: str
    text: str
    context: Context
    deadline_s: float
    variant: str = ""
    index: int = 0
    passages: Sequence[Passage] = ()
    end_user: str = ""
    """Who asked it first: the record of the answer is erased with that person."""
    prompt: str = ""
    """`prompt@version` in place of the live one."""
    unsaved: PromptText | None = None
    """A prompt in place of the live one, too; not with `prompt`."""
    sampling: VariantSampling = AS_DEPLOYED


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptVersions:
    """The versions that a prompt has: the newest one's number, and the schema of variables of each, "" for none."""

    latest: int
    variables: Mapping[int, str]
    digests: Mapping[int, str] = field(default_factory=dict)
    """Of the content of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer and its configuration. `whole` is False if the record no longer has the texts.

    `total_s` excludes retrieval, which is the same for both sides.
    """

    inference: str
    text: str
    configuration: str
    model: str
    citation_valid: float | None
    passages: Sequence[Passage]
    whole: bool
    index: int = 0
    """The index version that was searched."""
    total_s: float = 0.0
    max_concurrent: int = 0
    """Allowed concurrency while it was generated; set by the requester."""
    output_tokens: int | None = None
    """None where nothing was generated for it."""
    input_tokens: int | None = None
    """Ditto."""
    cost: float | None = None
    """With all attempts, in the currency of the installation; None where no price is declared."""


class Inference(Protocol):
    """The inference service. Raises inference's errors as the kit's, and DependencyUnavailable if it is unavailable."""

    async def live(self, caller: Caller, deployment: str) -> Live:
        """Return the live configuration.

        Raises:
            NotFound: there is no such deployment.

        """
        ...

    async def ask(self, caller: Caller, question: Question) -> Answer:
        """Return the answer; idempotent by request id."""
        ...


class Prompts(Protocol):
    """Client of inference's prompts."""

    async def prompt(self, caller: Caller, name: str) -> PromptVersions:
        """Return the versions of a prompt.

        Raises:
            NotFound: there is no such prompt.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A registered model version. `dataset_version` is empty if it was not trained by trainer."""

    ready: bool
    dataset_version: str
    weights_bytes: int = 0
    """Of its own weights; 0 of a remote model."""
    base: str = ""
    """`model@number` of an adapter's base."""
    shared_base: "Version | None" = None
    """That base, where another project shares the adapter: it is read with it, and not on its own."""
    exposure: Exposure | None = None
    """Of the canaries of its training; None where none were measured."""


class Models(Protocol):
    """Client of trainer's model registry."""

    async def version(self, caller: Caller, version: str) -> Version:
        """Return a version.

        Raises:
            NotFound: there is none.

        """
        ...


class Datasets(Protocol):
    """Client of ingest's datasets."""

    async def newest(self, caller: Caller, dataset: str) -> str:
        """Return the newest version as `dataset@number`, "" where it has none yet.

        Raises:
            NotFound: there is no such dataset.

        """
        ...

    async def held_out(self, caller: Caller, dataset_version: str) -> CaseSet:
        """Return the held-out split of a dataset version.

        Raises:
            NotFound: there is none.

        """
        ...


class Readers(Protocol):
    """Client of ingest, which knows who may read a document."""

    async def restricted(self, caller: Caller, versions: Sequence[DocumentVersion]) -> frozenset[DocumentVersion]:
        """Return which of these versions of the project's documents the caller may not read.

        Raises:
            DependencyUnavailable: ingest does not answer.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialResult:
    """Partial result of a case: first the baseline's answer and passages, then both answers."""

    baseline: CaseAnswer
    passages: Sequence[Passage] = ()
    candidate: CaseAnswer | None = None
    end_user: str = ""
    """Who asked the case; "" of a suite's."""
    corrected_by: str = ""
    """Who wrote its reference, where that is another end user."""
    owner: str = ""
    """The project that this is an end user of, where it is not the evaluation's."""
    rests_on: Sequence[DocumentVersion] | None = None
    """What both answers rest on, once they are there; None where that is not known."""

    def result(self, case_set: str, case: str) -> CaseResult | None:
        """Return the result if both sides have answered."""
        if self.candidate is None:
            return None
        return CaseResult(case_set=case_set, case=case, baseline=self.baseline, candidate=self.candidate)


@dataclass(frozen=True, slots=True)
class CaseName:
    """One case of an evaluation."""

    case_set: str
    case: str


class CaseResults(Protocol):
    """Stores case results as they arrive; every write is fenced by the lease's epoch."""

    async def read(self, project: str, evaluation: str, names: Sequence[CaseName]) -> Mapping[CaseName, PartialResult]:
        """Return the stored results of these cases."""
        ...

    async def scores(self, project: str, evaluation: str, names: Sequence[CaseName]) -> Sequence[CaseResult]:
        """Return those of both sides, with scores and failures alone."""
        ...

    async def keep(self, project: str, evaluation: str, name: CaseName, kept: PartialResult, *, epoch: int) -> None:
        """Store the result of a case.

        Raises:
            EvaluationLost: a later epoch was there.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedSearches:
    """What the searches of an index version found; `baseline_index` was live, and is what they were compared with."""

    comparison: Comparison
    baseline_index: int


class RetrievalComparisons(Protocol):
    """What searches of an index version find, compared with those of the live one."""

    async def started(self, caller: Caller, evaluation: Evaluation) -> str:
        """Start the comparison for an evaluation, once, and return its id.

        Raises:
            NoVerdict: the index version cannot be searched, or is live already.

        """
        ...

    async def result(self, caller: Caller, evaluation: Evaluation) -> ComparedSearches | None:
        """Return the comparison, with whether its requirement holds; None while it runs.

        Raises:
            NoVerdict: it came to no result; with COLLECTION_CHANGED where the candidate went live before it began.

        """
        ...

    async def stop(self, caller: Caller, evaluation: Evaluation) -> None:
        """Cancel the comparison of an evaluation that has ended; no effect where there is none, or it has ended too."""
        ...

    async def check_unchanged(self, caller: Caller, evaluation: Evaluation) -> None:
        """Check that the same index versions can be searched, and the same one is live, as when it was compared.

        Raises:
            NoVerdict: with COLLECTION_CHANGED.

        """
        ...


class Levels(Protocol):
    """Counts the different candidates that were compared with a live model, on each set of cases."""

    async def __call__(
        self, caller: Caller, *, baseline: str, candidate: str, case_sets: Collection[str]
    ) -> Mapping[str, int]:
        """Return which one it is on each of these sets, counted from 1; one that was counted keeps its number."""
        ...


class Intervals(Protocol):
    """Confidence intervals of a mean."""

    async def of_mean(self, differences: Sequence[float], *, confidence: float, bounded: bool) -> Interval:
        """Return the interval of the mean of paired differences (at least one), one per cluster.

        Bounded differences are in [-1, 1]. Deterministic, and independent of the order.
        """
        ...

    async def p_value(self, differences: Sequence[float]) -> float:
        """Return the two-sided p-value of paired differences in [-1, 1] (at least one) whose mean is supposed to be 0.

        It is at most alpha where the interval with confidence 1 - alpha leaves 0 out.
        """
        ...

    async def needed(self, differences: Sequence[float], *, above: float, confidence: float) -> int:
        """Return how many clusters with bounded differences like these it takes for a lower bound above this.

        Their own number where they are enough; 0 where no number is.
        """
        ...


class Powers(Protocol):
    """Power of comparisons of bounded differences."""

    def place(self, project: str) -> AbstractAsyncContextManager[object]:
        """Hold a place during the block, in which powers are computed and what that takes is read.

        Raises:
            QueueFull: too many ask at the same time.

        """
        ...

    async def of(self, differences: Sequence[float], bound: Bound, *, gain: float, power: float) -> Power:
        """Return how probably a gain is shown, where paired differences vary as these do, one per cluster.

        Where they are fewer than MIN_DIFFERENCES, or all alike, a standard deviation is assumed instead.
        """
        ...


Enqueue = Callable[[ResourceKey], None]
"""Enqueues an evaluation for its controller."""
