"""Retrieval evaluations on in-memory stores, and a stub of rag."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence

from services.evaluator.tests.builders import ADA, BUCKET, request, write
from services.evaluator.tests.fakes import InMemoryReaders, ProcessesHere, WholeRange
from services.evaluator.tests.harness import Steps, exchange_cases
from tidemill_core.application import Caller, PageRequest, Requeue
from tidemill_core.errors import NotFound, TidemillError
from tidemill_evaluator.errors import EvaluationLost, EvaluationNotFound, SuiteNotFound
from tidemill_evaluator.retrieval_evaluations.compute_figures import ComputeFigures
from tidemill_evaluator.retrieval_evaluations.crud import RetrievalEvaluationCrud
from tidemill_evaluator.retrieval_evaluations.domain.results import RetrievalMeasure, RetrievalResult
from tidemill_evaluator.retrieval_evaluations.domain.retrieval_evaluation import (
    RetrievalEvaluation,
    RetrievalSide,
    Searching,
)
from tidemill_evaluator.retrieval_evaluations.list_retrieval_results import ListRetrievalResults
from tidemill_evaluator.retrieval_evaluations.mongo import RETRIEVAL_EVALUATIONS
from tidemill_evaluator.retrieval_evaluations.ports import SearchedCollection, SearchQuery
from tidemill_evaluator.retrieval_evaluations.run_retrieval_evaluation import RunRetrievalEvaluation
from tidemill_evaluator.retrieval_evaluations.search_case import SearchCase
from tidemill_evaluator.retrieval_evaluations.start_retrieval_evaluation import StartRetrievalEvaluation
from tidemill_evaluator.safety.shipped_files import ShippedFiles
from tidemill_evaluator.suites.crud import SuiteCrud
from tidemill_evaluator.suites.domain.cases import Case, Judgement
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_evaluator.suites.mongo import SUITES
from tidemill_evaluator.suites.schemas import BoundedSchemas
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.objects import InMemoryObjects
from tidemill_testkit.stores import InMemoryAggregates

LIVE, SETTINGS = 3, '{"sparse_weight": 0.7}'
OTHER = RetrievalSide(settings='{"sparse_weight": 1.5}')


class InMemoryRetrieval:
    """Implements `ports.Retrieval`: finds what tests set, by settings and question."""

    def __init__(self) -> None:
        self.collections = {
            ("acme", "handbook"): SearchedCollection(
                name="handbook", live_index=LIVE, settings=SETTINGS, documents={LIVE: 10}
            )
        }
        self.finds: dict[tuple[str, str], Sequence[str]] = {}
        """(settings, question) -> documents."""
        self.known: set[str] = set()
        """Documents that the index has beside what it finds."""
        self.fails: dict[str, list[TidemillError]] = defaultdict(list)
        """Question -> errors, one per call."""
        self.searched: list[SearchQuery] = []
        self.before: Callable[[SearchQuery], Awaitable[None]] | None = None

    async def collection(self, caller: Caller, name: str) -> SearchedCollection:
        try:
            return self.collections[caller.project, name]
        except KeyError:
            message = f"collection {name} not found in this project"
            raise NotFound(message) from None

    async def search(self, caller: Caller, query: SearchQuery) -> Sequence[str]:
        await asyncio.sleep(0)
        if self.before:
            await self.before(query)
        found = await self.collection(caller, query.collection)
        if query.side.index not in found.documents:
            message = f"collection {query.collection} has no index version {query.side.index}"
            raise NotFound(message)
        if self.fails[query.text]:
            raise self.fails[query.text].pop(0)
        self.searched.append(query)
        return self.finds.get((query.side.settings, query.text), ())

    async def has_document(self, caller: Caller, collection: str, document: str, *, index: int) -> bool:
        await self.collection(caller, collection)
        return index > 0 and document in self.known


class InMemoryRetrievalResults:
    """Implements `ports.RetrievalResults`."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str, str], tuple[RetrievalResult, int]] = {}

    async def read(self, project: str, evaluation: str) -> Mapping[str, RetrievalResult]:
        return {key[2]: kept for key, (kept, _) in self.stored.items() if key[:2] == (project, evaluation)}

    async def keep(self, project: str, evaluation: str, result: RetrievalResult, *, epoch: int) -> None:
        _, last = self.stored.get((project, evaluation, result.case), (None, 0))
        if last > epoch:
            raise EvaluationLost(evaluation)
        self.stored[project, evaluation, result.case] = (result, epoch)


class RetrievalEvaluator:
    """The use cases on in-memory stores."""

    def __init__(self, *, limits: Limits | None = None) -> None:
        self.clock = FixedClock()
        self.suites = InMemoryAggregates[Suite](codec=SUITES, missing=SuiteNotFound, clock=self.clock)
        self.evaluations = InMemoryAggregates[RetrievalEvaluation](
            codec=RETRIEVAL_EVALUATIONS, missing=EvaluationNotFound, clock=self.clock
        )
        self.objects = InMemoryObjects(BUCKET, "datasets")
        self.cases = exchange_cases(self.objects)
        self.retrieval = InMemoryRetrieval()
        self.results = InMemoryRetrievalResults()
        self.enqueue = Steps()

        async def no_gates(_caller: Caller, _suite: str) -> Sequence[str]:
            return ()

        self.suite_crud = SuiteCrud(
            suites=self.suites,
            cases=self.cases,
            schemas=BoundedSchemas(ProcessesHere()),
            gates_of=no_gates,
            shipped=ShippedFiles(),
            restricted=InMemoryReaders().restricted,
            limits=limits or Limits(),
        )
        self.start = StartRetrievalEvaluation(
            evaluations=self.evaluations, suites=self.suites, retrieval=self.retrieval, enqueue=self.enqueue
        )
        self.crud = RetrievalEvaluationCrud(evaluations=self.evaluations, clock=self.clock)
        self.list_results = ListRetrievalResults(evaluations=self.evaluations, cases=self.cases, results=self.results)
        self.run = RunRetrievalEvaluation(
            evaluations=self.evaluations,
            suites=self.suites,
            cases=self.cases,
            results=self.results,
            retrieval=self.retrieval,
            search=SearchCase(
                retrieval=self.retrieval, attempts=2, pause_s=0.0, seconds=lambda: self.clock.now().timestamp()
            ),
            compute_figures=ComputeFigures(intervals=WholeRange()),
            max_concurrent=asyncio.Semaphore(2),
            clock=self.clock,
        )

    async def with_suite(self, *cases: Case) -> Suite:
        """Create suite `questions`; by default three cases, of which document d1, d2 or d3 is relevant."""
        suite = Suite(id="questions", project="acme")
        return await self.suite_crud.create(ADA, suite, cases or [judged(number) for number in (1, 2, 3)], write())

    async def begun(
        self, *, candidate: RetrievalSide | None = None, depth: int = 10, max_cases: int = 0
    ) -> RetrievalEvaluation:
        searching = Searching(
            suite="questions", collection="handbook", candidate=candidate, depth=depth, max_cases=max_cases
        )
        return await self.start(ADA, searching, request=request())

    async def finish(self, evaluation: RetrievalEvaluation, *, epoch: int = 1) -> RetrievalEvaluation:
        await self.work(evaluation, epoch=epoch)
        return await self.evaluations.get("acme", evaluation.id)

    async def work(self, evaluation: RetrievalEvaluation, *, epoch: int = 1) -> Requeue | None:
        return await self.run(Caller(project=evaluation.project), evaluation.id, epoch=epoch)

    async def all(self) -> list[RetrievalEvaluation]:
        return list((await self.evaluations.list("acme", page=PageRequest())).items)

    def finds(self, number: int, *documents: str, settings: str = SETTINGS) -> None:
        self.retrieval.finds[settings, question(number)] = documents


def question(number: int) -> str:
    return f"where is {number}?"


def judged(number: int, *, text: str = "", **grades: int) -> Case:
    """Return a case; by default document d<number> is relevant."""
    chosen = grades or {f"d{number}": 1}
    judgements = tuple(Judgement(document=document, grade=grade) for document, grade in chosen.items())
    return Case(id=f"q{number}", question=text or question(number), reference="", judgements=judgements)


def measure(evaluation: RetrievalEvaluation, metric: str) -> RetrievalMeasure:
    assert evaluation.figures is not None
    (found,) = [each for each in evaluation.figures.measures if each.metric == metric]
    return found
