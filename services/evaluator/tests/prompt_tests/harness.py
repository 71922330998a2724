"""Prompt tests on in-memory stores, and a stub of inference."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from services.evaluator.tests.builders import ADA, BASE, BUCKET, DEADLINE_S, TUNED, cases, request, write
from services.evaluator.tests.fakes import InMemoryModels, InMemoryReaders, ProcessesHere, WholeRange
from services.evaluator.tests.harness import Steps, exchange_cases, registry
from tidemill_core.application import Caller, Requeue
from tidemill_core.errors import NotFound, RequestIdReused, TidemillError
from tidemill_evaluator.errors import EvaluationLost, EvaluationNotFound, SuiteNotFound
from tidemill_evaluator.evaluations.ask_patiently import AskPatiently, Patience
from tidemill_evaluator.evaluations.domain.pace import Pace
from tidemill_evaluator.evaluations.ports import Answer, Live, Passage, PromptVersions, Question
from tidemill_evaluator.evaluations.turns import Turns
from tidemill_evaluator.metrics.ports import MetricFamily
from tidemill_evaluator.prompt_tests.answer_case import AnswerCase
from tidemill_evaluator.prompt_tests.compute_grid import ComputeGrid
from tidemill_evaluator.prompt_tests.crud import PromptTestCrud
from tidemill_evaluator.prompt_tests.domain.cells import CaseCells, VariantMeasure
from tidemill_evaluator.prompt_tests.domain.grid import Grid, GridLimits, PromptVariant
from tidemill_evaluator.prompt_tests.domain.prompt_test import PromptTest
from tidemill_evaluator.prompt_tests.list_prompt_results import ListPromptResults
from tidemill_evaluator.prompt_tests.mongo import PROMPT_TESTS
from tidemill_evaluator.prompt_tests.run_prompt_test import RunPromptTest
from tidemill_evaluator.prompt_tests.start_prompt_test import StartPromptTest
from tidemill_evaluator.safety.shipped_files import ShippedFiles
from tidemill_evaluator.suites.crud import SuiteCrud
from tidemill_evaluator.suites.domain.cases import Case
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_evaluator.suites.mongo import SUITES
from tidemill_evaluator.suites.schemas import BoundedSchemas
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.objects import InMemoryObjects
from tidemill_testkit.stores import InMemoryAggregates

LIVE = PromptVariant(name="live", deployment="helpdesk")
NEW = PromptVariant(name="new", deployment="helpdesk", prompt="answer@3")
LARGER = PromptVariant(name="larger", deployment="helpdesk", model=TUNED)


def named_by(question: Question) -> str:
    """Return what a question is asked by, as tests name it."""
    unsaved = question.unsaved.user if question.unsaved else ""
    return question.prompt or unsaved or question.variant or question.deployment


class VariantInference:
    """Implements `evaluations.ports.Inference` and `Prompts`; answers what tests set.

    Recorded by request id as in inference, which refuses an id with another body.
    """

    def __init__(self) -> None:
        self.deployments = {
            ("acme", name): Live(digest=f"{name}-1", model=BASE, deadline_s=DEADLINE_S)
            for name in ("helpdesk", "sales")
        }
        self.says: dict[tuple[str, str], str | TidemillError] = {}
        """(what it is asked by, question) -> answer, or the error of every attempt."""
        self.finds: Sequence[Passage] = ()
        self.asked: list[Question] = []
        """Generated answers, without replayed ones."""
        self.before: Callable[[Question], Awaitable[None]] | None = None
        self.changes: dict[str, object] = {}
        """Fields of all answers."""
        self._records: dict[str, tuple[Question, Answer]] = {}

    async def live(self, caller: Caller, deployment: str) -> Live:
        try:
            return self.deployments[caller.project, deployment]
        except KeyError:
            message = f"deployment {deployment} does not exist"
            raise NotFound(message) from None

    async def prompt(self, caller: Caller, name: str) -> PromptVersions:
        """See `Prompts.prompt`: of each there are three versions."""
        assert caller.project
        if name == "absent":
            message = f"prompt {name} does not exist"
            raise NotFound(message)
        return PromptVersions(latest=3, variables=dict.fromkeys((1, 2, 3), ""))

    async def ask(self, caller: Caller, question: Question) -> Answer:
        await asyncio.sleep(0)
        live = await self.live(caller, question.deployment)
        if question.request_id in self._records:
            body, replayed = self._records[question.request_id]
            if body != question:
                raise RequestIdReused(question.request_id)
            passages = tuple(replace(each, text="") for each in replayed.passages)
            return replace(replayed, passages=passages, whole=not passages)
        if self.before:
            await self.before(question)
        said = self.says.get((named_by(question), question.text), "i do not know")
        if isinstance(said, TidemillError):
            raise said
        self.asked.append(question)
        answer = Answer(
            inference=f"i{len(self.asked)}",
            text=said,
            configuration=f"{live.digest}+{named_by(question)}",
            model=question.variant or live.model,
            citation_valid=None,
            passages=question.passages or self.finds,
            whole=True,
            total_s=0.5,
            output_tokens=len(said.split()),
            input_tokens=len(question.text.split()),
        )
        answer = replace(answer, **self.changes)  # type: ignore[arg-type]
        self._records[question.request_id] = question, answer
        return answer


class InMemoryPromptResults:
    """Implements `ports.PromptResults`."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str, str], tuple[CaseCells, int]] = {}

    async def read(self, project: str, test: str) -> Mapping[str, CaseCells]:
        return {key[2]: kept for key, (kept, _) in self.stored.items() if key[:2] == (project, test)}

    async def keep(self, project: str, test: str, result: CaseCells, *, epoch: int) -> None:
        _, last = self.stored.get((project, test, result.case), (None, 0))
        if last > epoch:
            raise EvaluationLost(test)
        self.stored[project, test, result.case] = (result, epoch)


async def _no_gates(_caller: Caller, _suite: str) -> Sequence[str]:
    return ()


class PromptTester:
    """The use cases on in-memory stores."""

    def __init__(self, *, size: GridLimits | None = None, families: Sequence[MetricFamily] = ()) -> None:
        self.clock = FixedClock()
        self.suites = InMemoryAggregates[Suite](codec=SUITES, missing=SuiteNotFound, clock=self.clock)
        self.tests = InMemoryAggregates[PromptTest](codec=PROMPT_TESTS, missing=EvaluationNotFound, clock=self.clock)
        self.cases = exchange_cases(InMemoryObjects(BUCKET, "datasets"))
        self.inference, self.models = VariantInference(), InMemoryModels()
        self.results, self.readers, self.enqueue = InMemoryPromptResults(), InMemoryReaders(), Steps()
        self.pairwise: Sequence[str] = ()
        """Metrics that compare two answers."""
        metrics = registry(*families)

        async def comparing(caller: Caller, metrics: Collection[str]) -> Sequence[str]:
            assert caller.project
            return [name for name in metrics if name in self.pairwise]

        self.suite_crud = SuiteCrud(
            suites=self.suites,
            cases=self.cases,
            schemas=BoundedSchemas(ProcessesHere()),
            gates_of=_no_gates,
            shipped=ShippedFiles(),
            restricted=self.readers.restricted,
            limits=Limits(),
        )
        self.start = StartPromptTest(
            tests=self.tests,
            suites=self.suites,
            models=self.models,
            inference=self.inference,
            prompts=self.inference,
            metrics=metrics,
            comparing=comparing,
            limits=Limits(),
            size=size or GridLimits(),
            enqueue=self.enqueue,
        )
        self.crud = PromptTestCrud(tests=self.tests, clock=self.clock)
        self.list_results = ListPromptResults(
            tests=self.tests, cases=self.cases, results=self.results, readers=self.readers, metrics=metrics
        )
        self.run = RunPromptTest(
            tests=self.tests,
            suites=self.suites,
            cases=self.cases,
            results=self.results,
            inference=self.inference,
            metrics=metrics,
            answer=AnswerCase(
                ask=AskPatiently(inference=self.inference, patience=Patience(attempts=2, pause_s=0.0)), metrics=metrics
            ),
            compute_grid=ComputeGrid(intervals=WholeRange(), metrics=metrics),
            max_concurrent=asyncio.Semaphore(2),
            turns=lambda deadline_s, *, steady: Turns(
                Pace(maximum=4, share=0.5, steady=steady),
                deadline_s=deadline_s,
                seconds=lambda: self.clock.now().timestamp(),
            ),
            clock=self.clock,
        )

    async def with_suite(self, *given: Case) -> None:
        """Create suite `truth`; by default with three cases, whose answers are numbers."""
        await self.suite_crud.create(ADA, Suite(id="truth", project="acme"), given or cases(3), write())

    async def begun(self, *variants: PromptVariant, **changes: object) -> PromptTest:
        grid = Grid(**{"variants": variants or (LIVE, NEW), "suite": "truth", **changes})  # type: ignore[arg-type]
        return await self.start(ADA, grid, request=request())

    async def work(self, test: PromptTest, *, epoch: int = 1) -> Requeue | None:
        return await self.run(Caller(project=test.project), test.id, epoch=epoch)

    async def finish(self, test: PromptTest, *, epoch: int = 1) -> PromptTest:
        await self.work(test, epoch=epoch)
        return await self.tests.get(test.project, test.id)

    def is_right(self, asked_by: str, *numbers: int) -> None:
        """Have a variant answer these cases of the suite rightly."""
        for case in cases(3):
            if int(case.id[1:]) in numbers:
                self.inference.says[asked_by, case.question] = case.reference

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))


def measure(test: PromptTest, variant: int, metric: str) -> VariantMeasure:
    (found,) = [each for each in test.figures[variant].measures if each.metric == metric]
    return found
