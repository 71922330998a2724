"""In-memory stores and stub services."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar
from uuid import uuid4

from services.evaluator.tests.builders import BASE, DEADLINE_S, DIGEST, TUNED
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller
from tidemill_core.errors import NotFound, TidemillError
from tidemill_evaluator.errors import EvaluationLost
from tidemill_evaluator.evaluations.domain.comparison import Comparison, Interval
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.power import Bound, Power
from tidemill_evaluator.evaluations.domain.results import CaseResult
from tidemill_evaluator.evaluations.ports import (
    Answer,
    CaseName,
    ComparedSearches,
    Live,
    PartialResult,
    Passage,
    PromptVersions,
    Question,
    Version,
)
from tidemill_evaluator.suites.domain.cases import Case, CaseSet, DocumentVersion
from tidemill_evaluator.suites.ports import Origin

R = TypeVar("R")


class InMemoryResults:
    """Implements `ports.CaseResults`."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str, CaseName], tuple[PartialResult, int]] = {}
        self.scored: list[str] = []
        """Sets of which scores were read."""

    async def read(self, project: str, evaluation: str, names: Sequence[CaseName]) -> Mapping[CaseName, PartialResult]:
        found = {name: self.stored.get((project, evaluation, name)) for name in names}
        return {name: stored[0] for name, stored in found.items() if stored is not None}

    async def scores(self, project: str, evaluation: str, names: Sequence[CaseName]) -> Sequence[CaseResult]:
        self.scored += [name.case_set for name in names[:1]]
        known = await self.read(project, evaluation, names)
        return [result for name, kept in known.items() if (result := kept.result(name.case_set, name.case))]

    async def keep(self, project: str, evaluation: str, name: CaseName, kept: PartialResult, *, epoch: int) -> None:
        _, last = self.stored.get((project, evaluation, name), (None, 0))
        if last > epoch:
            raise EvaluationLost(evaluation)
        self.stored[project, evaluation, name] = (kept, epoch)


class InMemoryInference:
    """Implements `ports.Inference` and `ports.Prompts`: configured answers, recorded by request id as in inference."""

    def __init__(self) -> None:
        self.deployments = {("acme", "helpdesk"): Live(digest=DIGEST, model=BASE, deadline_s=DEADLINE_S)}
        self.says: dict[tuple[str, str], str] = {}
        """(variant, question) -> answer; the variant "" is the live configuration, and "index 4" an index version."""
        self.searches = 0
        """The index version that is searched whatever is asked for; 0 searches what is asked for."""
        self.live_index = 0
        """The index version that is searched where none is asked for."""
        self.cites: dict[str, float | None] = {}
        """Variant -> citation_valid."""
        self.finds: dict[str, Sequence[Passage]] = {}
        """Question -> passages."""
        self.fails: dict[tuple[str, str], list[TidemillError]] = defaultdict(list)
        """(variant, question) -> errors, one per call."""
        self.asked: list[Question] = []
        """Generated answers, without replayed ones."""
        self.before: Callable[[Question], Awaitable[None]] | None = None
        self.away: TidemillError | None = None
        self.answers_by: dict[str, str] = {}
        """Variant -> its fallback model."""
        self.takes_s: dict[str, float] = {}
        """Variant -> reported latency of its answers."""
        self.costs: dict[str, float] = {}
        """Variant -> reported cost of its answers."""
        self.prompts: dict[str, PromptVersions] = {}
        self._records: dict[str, Answer] = {}

    async def prompt(self, caller: Caller, name: str) -> PromptVersions:
        assert caller.project
        if self.away:
            raise self.away
        try:
            return self.prompts[name]
        except KeyError:
            raise NotFound(name) from None

    async def live(self, caller: Caller, deployment: str) -> Live:
        if self.away:
            raise self.away
        try:
            return self.deployments[caller.project, deployment]
        except KeyError:
            raise NotFound(deployment) from None

    async def ask(self, caller: Caller, question: Question) -> Answer:
        await asyncio.sleep(0)
        if self.away:
            raise self.away
        if question.request_id in self._records:
            return self._reported_again(self._records[question.request_id])
        if self.before:
            await self.before(question)
        if self.fails[question.variant, question.text]:
            raise self.fails[question.variant, question.text].pop(0)
        self.asked.append(question)
        live = self.deployments[caller.project, question.deployment]
        compared = f"index {question.index}" if question.index else question.variant or question.prompt
        answer = Answer(
            inference=str(uuid4()),
            text=self.says.get((compared, question.text), "i do not know"),
            configuration=live.digest + (f"+{compared}" if compared else ""),
            model=self.answers_by.get(question.variant, question.variant or live.model),
            citation_valid=self.cites.get(question.variant),
            passages=question.passages or self.finds.get(question.text, ()),
            whole=True,
            index=self.searches or question.index or self.live_index,
            total_s=self.takes_s.get(question.variant, 0.0),
            cost=self.costs.get(question.variant),
        )
        self._records[question.request_id] = answer
        return answer

    def _reported_again(self, answer: Answer) -> Answer:
        passages = [replace(passage, text="") for passage in answer.passages]
        return replace(answer, passages=passages, whole=not passages)


class InMemoryRetrievalComparisons:
    """Implements `ports.RetrievalComparisons`."""

    def __init__(self) -> None:
        self.started_for: list[str] = []
        self.found: Comparison | None = None
        """None: it runs still."""
        self.baseline_index = 3
        self.stopped: list[str] = []
        self.fails: TidemillError | None = None
        self.changed: TidemillError | None = None

    async def started(self, caller: Caller, evaluation: Evaluation) -> str:
        assert caller.project
        self.started_for.append(evaluation.id)
        return f"retrieval of {evaluation.id}"

    async def result(self, caller: Caller, evaluation: Evaluation) -> ComparedSearches | None:
        assert caller.project
        assert evaluation.retrieval_evaluation
        if self.fails:
            raise self.fails
        if self.found is None:
            return None
        return ComparedSearches(comparison=self.found, baseline_index=self.baseline_index)

    async def stop(self, caller: Caller, evaluation: Evaluation) -> None:
        assert caller.project
        self.stopped.append(evaluation.id)

    async def check_unchanged(self, caller: Caller, evaluation: Evaluation) -> None:
        assert caller.project
        assert evaluation.retrieval_evaluation
        if self.changed:
            raise self.changed


class InMemoryModels:
    """Implements `ports.Models`."""

    def __init__(self) -> None:
        self.versions = {
            BASE: Version(ready=True, dataset_version=""),
            TUNED: Version(ready=True, dataset_version="sft@2"),
        }

    async def version(self, caller: Caller, version: str) -> Version:
        assert caller.project
        try:
            return self.versions[version]
        except KeyError:
            raise NotFound(version) from None


class InMemoryDatasets:
    """Implements `ports.Datasets`."""

    def __init__(self) -> None:
        self.parts: dict[str, CaseSet] = {}

    async def newest(self, caller: Caller, dataset: str) -> str:
        assert caller.project
        numbers = [part.number for part in self.parts.values() if part.dataset == dataset]
        return f"{dataset}@{max(numbers)}" if numbers else ""

    async def held_out(self, caller: Caller, dataset_version: str) -> CaseSet:
        assert caller.project
        try:
            return self.parts[dataset_version]
        except KeyError:
            raise NotFound(dataset_version) from None


class InMemoryReaders:
    """Implements `ports.Readers`: what is secret has no reader."""

    def __init__(self) -> None:
        self.secret: set[DocumentVersion] = set()
        self.away: TidemillError | None = None

    async def restricted(self, caller: Caller, versions: Sequence[DocumentVersion]) -> frozenset[DocumentVersion]:
        assert caller.project
        if self.away:
            raise self.away
        return frozenset(versions) & self.secret


class InMemoryOrigins:
    """Implements `suites.ports.CaseOrigins`."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[Origin, Sequence[Case]]] = {}

    async def keep(self, project: str, suite: str, content: ObjectRef, cases: Sequence[Case]) -> None:
        if any(case.end_user or case.corrected_by or case.rests_on for case in cases):
            origin = Origin(project=project, suite=suite, content=content, size=len(cases))
            self.kept[content.key] = (origin, cases)

    async def of_user(self, project: str, end_user: str) -> Sequence[Origin]:
        found = self.kept.values()
        return [origin for origin, cases in found if origin.project == project and _any_of(cases, end_user)][:1]

    async def of_document(self, document: str) -> Sequence[Origin]:
        rest = [
            (origin, {each.document for case in cases for each in case.rests_on})
            for origin, cases in self.kept.values()
        ]
        return [origin for origin, documents in rest if document in documents][:1]

    async def forget(self, origin: Origin) -> None:
        self.kept.pop(origin.content.key, None)


def _any_of(cases: Sequence[Case], end_user: str) -> bool:
    return any(case.is_of(end_user) for case in cases)


class ProcessesHere:
    """Implements `suites.ports.Processes` in this process; ends work with `ends`, the first first."""

    def __init__(self) -> None:
        self.ends: list[Exception] = []

    async def run(self, project: str, work: Callable[..., R], *arguments: object) -> R:
        assert project
        if self.ends:
            raise self.ends.pop(0)
        return work(*arguments)


class WholeRange:
    """Implements `ports.Intervals` with minimum and maximum of the differences."""

    async def of_mean(self, differences: Sequence[float], *, confidence: float, bounded: bool) -> Interval:
        assert 0 < confidence < 1
        assert not bounded or -1 <= min(differences) <= max(differences) <= 1
        return Interval(low=min(differences), high=max(differences))

    async def p_value(self, differences: Sequence[float]) -> float:
        return 0.01 if min(differences) > 0 or max(differences) < 0 else 1.0

    async def needed(self, differences: Sequence[float], *, above: float, confidence: float) -> int:
        assert 0 < confidence < 1
        return len(differences) if min(differences) > above else 0


class PowerByNumber:
    """Implements `ports.Powers`: each question finds one hundredth, and the differences are kept."""

    def __init__(self) -> None:
        self.known: list[Sequence[float]] = []
        self.bounds: list[Bound] = []
        self.held: list[str] = []
        """Projects that have a place."""

    @asynccontextmanager
    async def place(self, project: str) -> AsyncIterator[None]:
        self.held.append(project)
        yield
        self.held.remove(project)

    async def of(self, differences: Sequence[float], bound: Bound, *, gain: float, power: float) -> Power:
        assert self.held
        self.known.append(differences)
        self.bounds.append(bound)
        needed, assumed = int(power * 100), not differences
        return Power(
            of_gain=bound.clusters / 100, detectable_gain=gain * 2, needed=needed, deviation=0.25, assumed=assumed
        )
