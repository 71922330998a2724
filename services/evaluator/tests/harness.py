"""An evaluator on in-memory stores."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.protobuf.json_format import MessageToJson

from services.evaluator.tests.builders import (
    ADA,
    BUCKET,
    DATASETS,
    TUNED,
    cases,
    example,
    gate_of,
    name_of,
    request,
    write,
)
from services.evaluator.tests.fakes import (
    InMemoryDatasets,
    InMemoryInference,
    InMemoryModels,
    InMemoryOrigins,
    InMemoryReaders,
    InMemoryResults,
    InMemoryRetrievalComparisons,
    PowerByNumber,
    ProcessesHere,
    WholeRange,
)
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller, PageRequest, ResourceKey
from tidemill_core.errors import DependencyUnavailable
from tidemill_evaluator.errors import EvaluationNotFound, GateNotFound, SpentLevelNotFound, SuiteNotFound
from tidemill_evaluator.evaluations.after_provider_change import ReevaluateAfterProviderChange
from tidemill_evaluator.evaluations.ask_patiently import Patience
from tidemill_evaluator.evaluations.collect_cases import CollectCases
from tidemill_evaluator.evaluations.compare_prompts import ComparePrompts
from tidemill_evaluator.evaluations.compare_slices import CompareSlices
from tidemill_evaluator.evaluations.compare_versions import CompareVersions
from tidemill_evaluator.evaluations.compute_verdict import ComputeVerdict
from tidemill_evaluator.evaluations.crud import EvaluationCrud
from tidemill_evaluator.evaluations.domain.comparison import Evidence
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.pace import Pace
from tidemill_evaluator.evaluations.estimate_power import EstimatePower
from tidemill_evaluator.evaluations.list_case_results import ListCaseResults
from tidemill_evaluator.evaluations.mongo import EVALUATIONS
from tidemill_evaluator.evaluations.paired_answers import PairedAnswers
from tidemill_evaluator.evaluations.ports import CaseResults
from tidemill_evaluator.evaluations.queue_reevaluation import QueueReevaluation
from tidemill_evaluator.evaluations.read_reference import ReadReference
from tidemill_evaluator.evaluations.run_evaluation import RunEvaluation
from tidemill_evaluator.evaluations.start_evaluation import StartCommand, StartEvaluation
from tidemill_evaluator.evaluations.triggers import EvaluationTriggers
from tidemill_evaluator.evaluations.turns import Turns
from tidemill_evaluator.gates.crud import GateCrud
from tidemill_evaluator.gates.domain.gate import Gate, Requirement
from tidemill_evaluator.gates.domain.spending import SpentLevel
from tidemill_evaluator.gates.mongo import GATES, SPENT_LEVELS
from tidemill_evaluator.gates.spend_level import SpendLevel
from tidemill_evaluator.metrics.library_metrics import LibraryMetrics
from tidemill_evaluator.metrics.own import OwnMetrics
from tidemill_evaluator.metrics.ports import MetricFamily
from tidemill_evaluator.metrics.registry import Registry
from tidemill_evaluator.safety.expectation_metrics import ExpectationMetrics
from tidemill_evaluator.safety.shipped_files import ShippedFiles
from tidemill_evaluator.suites.crud import SuiteCrud
from tidemill_evaluator.suites.domain.cases import CaseSet
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_evaluator.suites.exchange import ExchangeCases
from tidemill_evaluator.suites.mongo import SUITES
from tidemill_evaluator.suites.ports import CaseOrigins
from tidemill_evaluator.suites.schemas import BoundedSchemas
from tidemill_kit.store.objects import ExchangeBucket
from tidemill_kit.workers import fair_share
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.leases import InMemoryLeases
from tidemill_testkit.objects import InMemoryObjects
from tidemill_testkit.stores import InMemoryAggregates

LITTLE = Evidence(min_questions=2, max_unanswered=0.4, min_clusters=2)
HELD_OUT = Requirement(dataset="sft", metric="rouge_l", at_least=3)
TRUTH = Requirement(suite="truth", metric="rouge_l", gain_above=-0.02)


@dataclass(kw_only=True)
class Steps:
    """Counts how often a worker is notified."""

    enqueued: int = 0

    def __call__(self, _: ResourceKey) -> None:
        self.enqueued += 1


Run = Callable[[ResourceKey], Coroutine[Any, Any, bool]]


class Evaluator:
    """The use cases on in-memory stores."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        attempts: int = 3,
        max_concurrent: int = 8,
        evidence: Evidence = LITTLE,
        families: Sequence[MetricFamily] = (),
    ) -> None:
        limits = limits or Limits()
        self.evidence = evidence
        self.clock = FixedClock()
        self.objects = InMemoryObjects(BUCKET, DATASETS, "elsewhere")
        self.suites = InMemoryAggregates[Suite](codec=SUITES, missing=SuiteNotFound, clock=self.clock)
        self.gates = InMemoryAggregates[Gate](codec=GATES, missing=GateNotFound, clock=self.clock)
        self.levels = InMemoryAggregates[SpentLevel](codec=SPENT_LEVELS, missing=SpentLevelNotFound, clock=self.clock)
        self.evaluations = InMemoryAggregates[Evaluation](
            codec=EVALUATIONS, missing=EvaluationNotFound, clock=self.clock
        )
        self.results: InMemoryResults = InMemoryResults()
        self.leases = InMemoryLeases()
        self.inference = InMemoryInference()
        self.models = InMemoryModels()
        self.retrieval = InMemoryRetrievalComparisons()
        self.datasets = InMemoryDatasets()
        self.enqueue = Steps()
        self.metrics = registry(ExpectationMetrics(fair_share.Turns(1)), *families)
        self.origins = InMemoryOrigins()
        self.cases = exchange_cases(self.objects, self.origins)
        self.start = StartEvaluation(
            evaluations=self.evaluations,
            gates=self.gates,
            suites=self.suites,
            models=self.models,
            inference=self.inference,
            prompts=self.inference,
            metrics=self.metrics,
            limits=limits,
            enqueue=self.enqueue,
        )
        self.triggers = EvaluationTriggers(
            evaluations=self.evaluations,
            gates=self.gates,
            attempts=attempts,
            enqueue=self.enqueue,
        )
        self._add_reevaluations()
        self.readers = InMemoryReaders()
        self._add_crud(limits)
        self.evaluation_crud = EvaluationCrud(evaluations=self.evaluations, retrieval=self.retrieval, clock=self.clock)
        self._add_results()
        self._add_power(limits)
        self.run = self.worker(self.results, limits=limits, max_concurrent=max_concurrent)

    def _add_reevaluations(self) -> None:
        self.passed_over: list[tuple[str, str]] = []
        self.queue_reevaluation = QueueReevaluation(
            evaluations=self.evaluations,
            gates=self.gates,
            inference=self.inference,
            prompts=self.inference,
            pairwise=no_judges,
            enqueue=self.enqueue,
            passed_over=lambda gate, why: self.passed_over.append((gate.id, why)),
            min_interval=timedelta(hours=1),
            clock=self.clock,
        )
        self.due: list[str] = []
        self.provider_changed = ReevaluateAfterProviderChange(
            gates=self.gates,
            inference=self.inference,
            judging=no_judges,
            enqueue=lambda gate: self.due.append(gate.id),
            min_interval=timedelta(hours=1),
            clock=self.clock,
        )

    def _add_results(self) -> None:
        self.list_case_results = ListCaseResults(
            evaluations=self.evaluations,
            cases=self.cases,
            results=self.results,
            readers=self.readers,
            metrics=self.metrics,
        )

    def _add_crud(self, limits: Limits) -> None:
        self.gate_crud = GateCrud(
            gates=self.gates,
            changed=self.triggers.gate_changed,
            metrics=self.metrics,
            limits=limits,
            clock=self.clock,
        )
        self.suite_crud = SuiteCrud(
            suites=self.suites,
            cases=self.cases,
            schemas=BoundedSchemas(ProcessesHere()),
            gates_of=self.gate_crud.requiring,
            shipped=ShippedFiles(),
            restricted=self.readers.restricted,
            limits=limits,
        )

    def _add_power(self, limits: Limits) -> None:
        self.powers = PowerByNumber()
        self.estimate_power = EstimatePower(
            gates=self.gates,
            suites=self.suites,
            cases=self.cases,
            evaluations=self.evaluations,
            results=self.results,
            levels=self.levels,
            inference=self.inference,
            powers=self.powers,
            metrics=self.metrics,
            evidence=self.evidence,
            limits=limits,
        )

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
            levels=SpendLevel(levels=self.levels),
            ask=PairedAnswers(
                inference=self.inference,
                evaluations=self.evaluations,
                results=results,
                metrics=self.metrics,
                patience=Patience(attempts=3, pause_s=0.0),
            ),
            metrics=self.metrics,
            compute_verdict=ComputeVerdict(intervals=WholeRange(), metrics=self.metrics, evidence=self.evidence),
            compare_versions=CompareVersions(models=self.models),
            compare_prompts=ComparePrompts(prompts=self.inference, evaluations=self.evaluations),
            reference=ReadReference(evaluations=self.evaluations, cases=self.cases, results=results),
            compare_slices=CompareSlices(intervals=WholeRange(), metrics=self.metrics, evidence=self.evidence),
            retrieval=self.retrieval,
            triggers=self.triggers,
            max_concurrent=asyncio.Semaphore(max_concurrent),
            turns=lambda deadline_s, *, steady: Turns(
                Pace(maximum=max_concurrent, share=0.5, steady=steady),
                deadline_s=deadline_s,
                seconds=lambda: self.clock.now().timestamp(),
            ),
            clock=self.clock,
        )

        async def under_a_lease(name: ResourceKey) -> bool:
            async with self.leases.held(name.key) as lease:
                caller = Caller(project=name.project)
                return lease is not None and await run(caller, name.id, epoch=lease.epoch) is None

        return under_a_lease

    async def with_suite(self, name: str = "truth", count: int = 3) -> Suite:
        suite = Suite(id=name, project="acme")
        return await self.suite_crud.create(ADA, suite, cases(count), write())

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
        return await self.gate_crud.create(ADA, gate, write())

    async def register(self, version: str = TUNED, *, project: str = "acme") -> None:
        """Deliver the event of a registered version."""
        await self.triggers.candidate_registered(Caller(project=project), version, dataset_version="sft@2")

    async def by_hand(
        self, *, suites: Sequence[str] = ("truth",), baseline: str = "", metrics: Sequence[str] = ()
    ) -> Evaluation:
        command = StartCommand(
            candidate=TUNED,
            deployment="helpdesk",
            suites=suites,
            baseline=baseline,
            metrics=metrics,
            request=request(),
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


async def no_judges(_caller: Caller, _metrics: Collection[str]) -> Sequence[str]:
    return []


def registry(*families: MetricFamily) -> Registry:
    """Return the metrics of evaluator's own, of libraries in this process, and of these families."""
    return Registry(families=(OwnMetrics(fair_share.Turns(1)), LibraryMetrics(ProcessesHere()), *families))


def exchange_cases(objects: InMemoryObjects, origins: CaseOrigins | None = None) -> ExchangeCases:
    return ExchangeCases(
        ExchangeBucket(objects, BUCKET),
        of_datasets={DATASETS: ExchangeBucket(objects, DATASETS)},
        origins=origins or InMemoryOrigins(),
    )


async def ready(**settings: int) -> Evaluator:
    """Return an evaluator with suite, held-out split, gate, and a candidate with all answers right."""
    evaluator = Evaluator(**settings)  # type: ignore[arg-type] # attempts and at_once
    await evaluator.with_suite()
    await evaluator.with_held_out()
    await evaluator.with_gate(HELD_OUT, TRUTH)
    evaluator.candidate_is_right()
    evaluator.candidate_is_right(prefix="held out: ")
    await evaluator.register()
    return evaluator


def away() -> DependencyUnavailable:
    return DependencyUnavailable("no answer", dependency="inference")
