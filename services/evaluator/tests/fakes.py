"""In-memory stores and stub services, and an evaluator built on them."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from google.protobuf.json_format import MessageToJson

from tidemill.content.v1 import content_pb2
from tidemill.feedback.v1 import curation_pb2
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller, PageRequest, Request
from tidemill_core.errors import NotFound, TidemillError
from tidemill_evaluator.errors import EvaluationLost, EvaluationNotFound, GateNotFound, SuiteNotFound
from tidemill_evaluator.evaluations.collect_cases import CollectCases
from tidemill_evaluator.evaluations.compute_verdict import ComputeVerdict
from tidemill_evaluator.evaluations.crud import CancelEvaluation
from tidemill_evaluator.evaluations.domain.comparison import Evidence, Interval
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.metrics import token_f1
from tidemill_evaluator.evaluations.domain.pace import Pace
from tidemill_evaluator.evaluations.list_case_results import ListCaseResults
from tidemill_evaluator.evaluations.mongo import EvaluationCodec
from tidemill_evaluator.evaluations.paired_answers import PairedAnswers, Patience
from tidemill_evaluator.evaluations.ports import (
    Answer,
    CaseName,
    CaseResults,
    EvaluationName,
    Live,
    PartialResult,
    Passage,
    Question,
    Version,
)
from tidemill_evaluator.evaluations.run_evaluation import RunEvaluation
from tidemill_evaluator.evaluations.start_evaluation import StartCommand, StartEvaluation
from tidemill_evaluator.evaluations.triggers import Candidate, EvaluationTriggers
from tidemill_evaluator.evaluations.turns import Turns
from tidemill_evaluator.gates.crud import ChangeGates, CreateGateCommand
from tidemill_evaluator.gates.domain import CandidateGates, Gate, Requirement
from tidemill_evaluator.gates.mongo import CandidateGatesCodec, GateCodec, SuiteCodec
from tidemill_evaluator.suites.crud import ChangeSuites, CreateSuiteCommand
from tidemill_evaluator.suites.domain.cases import Case, CaseSet
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_evaluator.suites.exchange import ExchangeCases
from tidemill_kit.store.objects import ExchangeBucket
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.objects import InMemoryObjects
from tidemill_testkit.stores import InMemoryAggregates

ADA = Caller(project="acme", subject="ada")
BUCKET = "evaluator"
DATASETS = "datasets"
BASE, TUNED = "smollm2@1", "lora@1"
DIGEST = "d1"
DEADLINE_S = 60.0
LITTLE = Evidence(min_questions=2, max_unanswered=0.4)


def request(request_id: str = "") -> Request:
    return Request.of(request_id, request_id.encode())


def cases(count: int = 3, *, prefix: str = "") -> list[Case]:
    """Return cases c1, c2, ..., whose answers are numbers."""
    return [
        Case(id=f"c{number}", question=f"{prefix}what is {number}?", reference=f"it is number {number}")
        for number in range(1, count + 1)
    ]


class InMemoryResults:
    """Implements `ports.CaseResults`."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str, CaseName], tuple[PartialResult, int]] = {}

    async def read(self, project: str, evaluation: str, names: Sequence[CaseName]) -> Mapping[CaseName, PartialResult]:
        found = {name: self.stored.get((project, evaluation, name)) for name in names}
        return {name: stored[0] for name, stored in found.items() if stored is not None}

    async def keep(self, project: str, evaluation: str, name: CaseName, kept: PartialResult, *, epoch: int) -> None:
        _, last = self.stored.get((project, evaluation, name), (None, 0))
        if last > epoch:
            raise EvaluationLost(evaluation)
        self.stored[project, evaluation, name] = (kept, epoch)


class InMemoryLeases:
    """Leases as a controller holds them; `steal` gives the evaluation to another worker."""

    def __init__(self) -> None:
        self.epochs: dict[EvaluationName, int] = defaultdict(int)
        self.holders: set[EvaluationName] = set()

    @asynccontextmanager
    async def held(self, name: EvaluationName) -> AsyncIterator[int | None]:
        if name in self.holders:
            yield None
            return
        self.holders.add(name)
        self.epochs[name] += 1
        try:
            yield self.epochs[name]
        finally:
            self.holders.discard(name)

    def steal(self, name: EvaluationName) -> None:
        """Expire the lease without its holder noticing."""
        self.holders.discard(name)


class InMemoryInference:
    """Implements `ports.Inference` with configured answers, recorded by request id as in inference."""

    def __init__(self) -> None:
        self.deployments = {("acme", "helpdesk"): Live(digest=DIGEST, model=BASE, deadline_s=DEADLINE_S)}
        self.says: dict[tuple[str, str], str] = {}
        """(variant, question) -> answer; the variant "" is the live configuration."""
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
        self._records: dict[str, Answer] = {}

    async def live(self, project: str, deployment: str) -> Live:
        if self.away:
            raise self.away
        try:
            return self.deployments[project, deployment]
        except KeyError:
            raise NotFound(deployment) from None

    async def ask(self, project: str, question: Question) -> Answer:
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
        live = self.deployments[project, question.deployment]
        answer = Answer(
            inference=str(uuid4()),
            text=self.says.get((question.variant, question.text), "i do not know"),
            configuration=live.digest + (f"+{question.variant}" if question.variant else ""),
            model=self.answers_by.get(question.variant, question.variant or live.model),
            citation_valid=self.cites.get(question.variant),
            passages=question.passages or self.finds.get(question.text, ()),
            whole=True,
            total_s=self.takes_s.get(question.variant, 0.0),
        )
        self._records[question.request_id] = answer
        return answer

    def _reported_again(self, answer: Answer) -> Answer:
        passages = [replace(passage, text="") for passage in answer.passages]
        return replace(answer, passages=passages, whole=not passages)


class InMemoryModels:
    """Implements `ports.Models`."""

    def __init__(self) -> None:
        self.versions = {
            BASE: Version(ready=True, dataset_version=""),
            TUNED: Version(ready=True, dataset_version="sft@2"),
        }

    async def version(self, project: str, version: str) -> Version:
        assert project
        try:
            return self.versions[version]
        except KeyError:
            raise NotFound(version) from None


class InMemoryDatasets:
    """Implements `ports.Datasets`."""

    def __init__(self) -> None:
        self.parts: dict[str, CaseSet] = {}

    async def held_out(self, project: str, dataset_version: str) -> CaseSet:
        assert project
        try:
            return self.parts[dataset_version]
        except KeyError:
            raise NotFound(dataset_version) from None


class WordScores:
    """Implements `ports.Scores` by counting words."""

    async def rouge_l(self, reference: str, texts: Sequence[str]) -> Sequence[float]:
        return [token_f1(reference, text) for text in texts]


class WholeRange:
    """Implements `ports.Intervals` with minimum and maximum of the differences."""

    async def of_mean(self, differences: Sequence[float], *, confidence: float, bounded: bool) -> Interval:
        assert 0 < confidence < 1
        assert not bounded or -1 <= min(differences) <= max(differences) <= 1
        return Interval(low=min(differences), high=max(differences))


@dataclass(kw_only=True)
class Steps:
    """Counts how often a worker is notified."""

    enqueued: int = 0

    def __call__(self, _: EvaluationName) -> None:
        self.enqueued += 1


Run = Callable[[EvaluationName], Coroutine[Any, Any, bool]]


class Evaluator:
    """The use cases on in-memory stores."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        attempts: int = 3,
        max_concurrent: int = 8,
        evidence: Evidence = LITTLE,
    ) -> None:
        limits = limits or Limits()
        self.evidence = evidence
        self.clock = FixedClock()
        self.objects = InMemoryObjects(BUCKET, DATASETS, "elsewhere")
        self.suites = InMemoryAggregates[Suite](codec=SuiteCodec(), missing=SuiteNotFound, clock=self.clock)
        self.gates = InMemoryAggregates[Gate](codec=GateCodec(), missing=GateNotFound, clock=self.clock)
        self.by_candidate = InMemoryAggregates[CandidateGates](
            codec=CandidateGatesCodec(), missing=NotFound, clock=self.clock
        )
        self.evaluations = InMemoryAggregates[Evaluation](
            codec=EvaluationCodec(), missing=EvaluationNotFound, clock=self.clock
        )
        self.results: InMemoryResults = InMemoryResults()
        self.leases = InMemoryLeases()
        self.inference = InMemoryInference()
        self.models = InMemoryModels()
        self.datasets = InMemoryDatasets()
        self.enqueue = Steps()
        self.cases = ExchangeCases(self.objects, bucket=BUCKET, dataset_buckets=[DATASETS])
        self.changing_suites = ChangeSuites(
            suites=self.suites, gates=self.gates, contents=self.cases, cases=self.cases, limits=limits
        )
        self.start = StartEvaluation(
            evaluations=self.evaluations,
            gates=self.gates,
            suites=self.suites,
            models=self.models,
            inference=self.inference,
            limits=limits,
            enqueue=self.enqueue,
        )
        self.triggers = EvaluationTriggers(
            evaluations=self.evaluations,
            gates=self.gates,
            by_candidate=self.by_candidate,
            attempts=attempts,
            enqueue=self.enqueue,
        )
        self.changing_gates = ChangeGates(
            gates=self.gates, by_candidate=self.by_candidate, triggers=self.triggers, limits=limits
        )
        self.cancel = CancelEvaluation(evaluations=self.evaluations, clock=self.clock)
        self.list_case_results = ListCaseResults(evaluations=self.evaluations, cases=self.cases, results=self.results)
        self.run = self.worker(self.results, limits=limits, max_concurrent=max_concurrent)

    def worker(self, results: CaseResults, *, limits: Limits | None = None, max_concurrent: int = 8) -> Run:
        """Return what a worker does, and whether it was done; each process has its own."""
        run = RunEvaluation(
            evaluations=self.evaluations,
            inference=self.inference,
            cases=self.cases,
            results=results,
            gather=CollectCases(
                suites=self.suites, models=self.models, datasets=self.datasets, limits=limits or Limits()
            ),
            ask=PairedAnswers(
                inference=self.inference,
                results=results,
                scores=WordScores(),
                patience=Patience(attempts=3, pause_s=0.0),
            ),
            compute_verdict=ComputeVerdict(intervals=WholeRange(), evidence=self.evidence),
            triggers=self.triggers,
            max_concurrent=asyncio.Semaphore(max_concurrent),
            turns=lambda deadline_s: Turns(
                Pace(maximum=max_concurrent, share=0.5),
                deadline_s=deadline_s,
                seconds=lambda: self.clock.now().timestamp(),
            ),
            clock=self.clock,
        )

        async def under_a_lease(name: EvaluationName) -> bool:
            async with self.leases.held(name) as epoch:
                return epoch is not None and await run(name, epoch=epoch) is None

        return under_a_lease

    async def with_suite(self, name: str = "truth", count: int = 3) -> Suite:
        suite = Suite(id=name, project="acme")
        command = CreateSuiteCommand(suite=suite, cases=cases(count), request=request())
        return await self.changing_suites.create(command)

    async def with_held_out(self, count: int = 3, *, version: str = "sft@2", bucket: str = DATASETS) -> CaseSet:
        """Add a dataset version with a held-out split of this many examples."""
        dataset, number = version.split("@")
        examples = [example(case) for case in cases(count, prefix="held out: ")]
        lines = [MessageToJson(each, indent=None, preserving_proto_field_name=True) for each in examples]
        data = "\n".join(lines).encode()
        content = await ExchangeBucket(self.objects, bucket).put("acme", dataset, data, media_type="application/jsonl")
        return self.publish(dataset, int(number), count, content)

    def publish(self, dataset: str, number: int, count: int, content: ObjectRef) -> CaseSet:
        part = CaseSet(dataset=dataset, number=number, size=count, content=content)
        self.datasets.parts[f"{dataset}@{number}"] = part
        return part

    async def with_gate(
        self, *require: Requirement, name: str = "gate", candidate: str = "lora", paused: bool = False
    ) -> Gate:
        gate = gate_of(*require, name=name, candidate=candidate, paused=paused)
        return await self.changing_gates.create(CreateGateCommand(gate=gate, request=request()))

    async def register(self, version: str = TUNED, *, project: str = "acme") -> None:
        """Deliver the event of a registered version."""
        candidate = Candidate(model=version.partition("@")[0], version=version, dataset_version="sft@2")
        await self.triggers.candidate_registered(project, candidate)

    async def by_hand(self, *, suites: Sequence[str] = ("truth",), baseline: str = "") -> Evaluation:
        command = StartCommand(
            candidate=TUNED, deployment="helpdesk", suites=suites, baseline=baseline, request=request()
        )
        return await self.start(ADA, command)

    async def all(self, project: str = "acme") -> list[Evaluation]:
        return list((await self.evaluations.list(project, page=PageRequest(size=1000))).items)

    async def finish(self, evaluation: Evaluation | None = None) -> Evaluation:
        """Run an evaluation (by default the only one) and return it."""
        if evaluation is None:
            (evaluation,) = await self.all()
        await self.run(name_of(evaluation))
        return await self.evaluations.get("acme", evaluation.id)

    def candidate_is_right(self, count: int = 3, *, prefix: str = "") -> None:
        for case in cases(count, prefix=prefix):
            self.inference.says[TUNED, case.question] = case.reference

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))


def name_of(evaluation: Evaluation) -> EvaluationName:
    return EvaluationName(project=evaluation.project, evaluation=evaluation.id)


def gate_of(
    *require: Requirement, name: str = "gate", candidate: str = "lora", paused: bool = False, project: str = "acme"
) -> Gate:
    return Gate(
        id=name,
        project=project,
        deployment="helpdesk",
        candidate=candidate,
        require=require or (Requirement(suite="truth", metric="rouge_l"),),
        paused=paused,
    )


def example(case: Case) -> curation_pb2.Example:
    """Return the example of a case in ingest's format."""
    output = content_pb2.Message(role=content_pb2.ROLE_ASSISTANT, parts=[content_pb2.Part(text=case.reference)])
    return curation_pb2.Example(id=case.id, question=case.question, output=output, end_user="ada")


def passage(text: str = "numbers are told apart") -> Passage:
    return Passage(id="1", document="doc", version=2, start=0, end=len(text), text=text, score=0.9, title="Numbers")
