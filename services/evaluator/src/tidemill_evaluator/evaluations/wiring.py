"""Wires the evaluations: stores and clients, use cases, and controllers."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import structlog

from tidemill.evaluator.v1.evaluation_service_pb2_grpc import EvaluationServiceServicer
from tidemill_core.application import Caller, ResourceKey, SystemClock
from tidemill_evaluator.errors import EvaluationNotFound
from tidemill_evaluator.evaluations.after_provider_change import JudgingModels, ReevaluateAfterProviderChange
from tidemill_evaluator.evaluations.ask_patiently import Patience
from tidemill_evaluator.evaluations.collect_cases import CollectCases
from tidemill_evaluator.evaluations.compare_prompts import ComparePrompts
from tidemill_evaluator.evaluations.compare_slices import CompareSlices
from tidemill_evaluator.evaluations.compare_versions import CompareVersions
from tidemill_evaluator.evaluations.compute_verdict import ComputeVerdict
from tidemill_evaluator.evaluations.crud import EvaluationCrud
from tidemill_evaluator.evaluations.domain.pace import Pace
from tidemill_evaluator.evaluations.estimate_power import EstimatePower
from tidemill_evaluator.evaluations.grpc import EvaluationRpcs
from tidemill_evaluator.evaluations.inference import InferenceService
from tidemill_evaluator.evaluations.ingest import IngestDatasets, IngestReaders
from tidemill_evaluator.evaluations.list_case_results import ListCaseResults
from tidemill_evaluator.evaluations.messages import TOPIC
from tidemill_evaluator.evaluations.mongo import (
    EVALUATION_LISTS,
    EVALUATIONS,
    deferring_gates,
    due_gates,
    unfinished_evaluations,
)
from tidemill_evaluator.evaluations.mongo_case_results import MongoCaseResults
from tidemill_evaluator.evaluations.paired_answers import PairedAnswers
from tidemill_evaluator.evaluations.ports import Enqueue, Evaluations, RetrievalComparisons
from tidemill_evaluator.evaluations.queue_reevaluation import PairwiseMetrics, QueueReevaluation
from tidemill_evaluator.evaluations.read_reference import ReadReference
from tidemill_evaluator.evaluations.retention import SWEEP_EVERY, ForgetResults
from tidemill_evaluator.evaluations.run_evaluation import RunEvaluation
from tidemill_evaluator.evaluations.start_evaluation import StartEvaluation
from tidemill_evaluator.evaluations.trainer import TrainerModels
from tidemill_evaluator.evaluations.triggers import EvaluationTriggers
from tidemill_evaluator.evaluations.turns import Turns
from tidemill_evaluator.gates.crud import GateCrud
from tidemill_evaluator.gates.grpc import GateRpcs
from tidemill_evaluator.gates.ports import Gates, SpentLevels
from tidemill_evaluator.gates.spend_level import SpendLevel
from tidemill_evaluator.metrics.registry import Registry
from tidemill_evaluator.settings import EvaluatorSettings
from tidemill_evaluator.statistics.intervals import BettingIntervals
from tidemill_evaluator.statistics.power import SimulatedPower
from tidemill_evaluator.suites.ports import Cases, Suites
from tidemill_kit.access.retention import RetentionKind
from tidemill_kit.erasure.retained import Retained
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.fair_queue import FairQueue
from tidemill_kit.workers.leases import Leases
from tidemill_kit.workers.sweeps import SweepKey, sweep_controller

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class OfOtherFeatures:
    """What gates and suites store, what compares searches, and the metrics."""

    suites: Suites
    cases: Cases
    gates: Gates
    levels: SpentLevels
    retrieval: RetrievalComparisons
    metrics: Registry
    pairwise: PairwiseMetrics
    judging: JudgingModels


@dataclass(frozen=True, kw_only=True)
class GrpcEvaluationService(GateRpcs, EvaluationRpcs, EvaluationServiceServicer):
    """EvaluationService, whose RPCs are about gates and evaluations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WiredEvaluations:
    """What `app.py` needs of evaluations."""

    crud: EvaluationCrud
    start: StartEvaluation
    list_case_results: ListCaseResults
    estimate_power: EstimatePower
    triggers: EvaluationTriggers
    provider_changed: ReevaluateAfterProviderChange
    controller: Controller[ResourceKey]
    sweeps: Controller[SweepKey]
    evaluations: Evaluations
    leases: Leases
    deferred: Controller[ResourceKey]
    """Starts what the gates deferred and a crashed process has not queued."""
    reevaluations: Controller[ResourceKey]
    """Evaluates again what the gates have let go live, by their schedules and after changes of providers."""

    def servicer(self, gates: GateCrud) -> GrpcEvaluationService:
        """Return the RPCs, those of gates with them."""
        return GrpcEvaluationService(
            gates=gates,
            evaluations=self.crud,
            start=self.start,
            list_case_results=self.list_case_results,
            estimate_power=self.estimate_power,
        )


class _Adapters:
    """What evaluations store, and the services that they call."""

    def __init__(self, settings: EvaluatorSettings, backend: Backend) -> None:
        self.evaluations = backend.aggregates(
            "evaluations",
            EVALUATIONS,
            missing=EvaluationNotFound,
            topic=TOPIC,
            lists=EVALUATION_LISTS,
        )
        self.results = backend.indexed(MongoCaseResults(backend.database["case_results"]))
        timeout_s = settings.call_timeout_s
        inference = backend.channel("inference", settings.inference_address, timeout_s=timeout_s)
        self.inference = InferenceService(inference, answer_timeout_s=settings.answer_timeout_s)
        self.models = TrainerModels(backend.channel("trainer", settings.trainer_address, timeout_s=timeout_s))
        ingest = backend.channel("ingest", settings.ingest_address, timeout_s=timeout_s)
        self.datasets, self.readers = IngestDatasets(ingest), IngestReaders(ingest, timeout_s=timeout_s)


def wire_evaluations(settings: EvaluatorSettings, backend: Backend, others: OfOtherFeatures) -> WiredEvaluations:
    """Return use cases and controller."""
    adapters = _Adapters(settings, backend)
    evaluations, leases = adapters.evaluations, backend.leases("evaluation_leases")
    controller = Controller[ResourceKey](
        "evaluations",
        reconcile=lambda key, epoch: run(Caller.of_service(key.project, "evaluator"), key.id, epoch=epoch),
        pending=backend.indexed(unfinished_evaluations(backend.database["evaluations"])),
        leases=leases,
        max_concurrent=settings.evaluation_max_concurrent,
        poll_interval=timedelta(seconds=settings.evaluation_poll_interval_s),
    )
    triggers = EvaluationTriggers(
        evaluations=evaluations,
        gates=others.gates,
        attempts=settings.attempts,
        enqueue=controller.enqueue,
    )
    deferred = Controller[ResourceKey](
        "deferred_evaluations",
        reconcile=lambda key, _: triggers.start_deferred(Caller.of_service(key.project, "evaluator"), key.id),
        pending=backend.indexed(deferring_gates(backend.database["gates"])),
        max_concurrent=1,
        poll_interval=timedelta(seconds=settings.evaluation_poll_interval_s),
    )
    run = _run_evaluation(settings, adapters, others, triggers)
    reevaluations = _reevaluations(
        settings, backend, _queue_reevaluation(settings, adapters, others, controller.enqueue)
    )
    return WiredEvaluations(
        crud=EvaluationCrud(evaluations=evaluations, retrieval=others.retrieval, clock=SystemClock()),
        start=StartEvaluation(
            evaluations=evaluations,
            gates=others.gates,
            suites=others.suites,
            models=adapters.models,
            inference=adapters.inference,
            prompts=adapters.inference,
            metrics=others.metrics,
            limits=settings.limits,
            enqueue=controller.enqueue,
        ),
        list_case_results=ListCaseResults(
            evaluations=evaluations,
            cases=others.cases,
            results=adapters.results,
            readers=adapters.readers,
            metrics=others.metrics,
        ),
        estimate_power=_estimate_power(settings, adapters, others),
        triggers=triggers,
        provider_changed=_after_provider_change(settings, adapters, others, reevaluations.enqueue),
        controller=controller,
        sweeps=_sweeps(backend, evaluations),
        evaluations=evaluations,
        leases=leases,
        deferred=deferred,
        reevaluations=reevaluations,
    )


def _queue_reevaluation(
    settings: EvaluatorSettings, adapters: _Adapters, others: OfOtherFeatures, enqueue: Enqueue
) -> QueueReevaluation:
    return QueueReevaluation(
        evaluations=adapters.evaluations,
        gates=others.gates,
        inference=adapters.inference,
        prompts=adapters.inference,
        pairwise=others.pairwise,
        enqueue=enqueue,
        passed_over=_passed_over,
        min_interval=timedelta(seconds=settings.reevaluation_min_interval_s),
        clock=SystemClock(),
    )


def _after_provider_change(
    settings: EvaluatorSettings, adapters: _Adapters, others: OfOtherFeatures, enqueue: Enqueue
) -> ReevaluateAfterProviderChange:
    return ReevaluateAfterProviderChange(
        gates=others.gates,
        inference=adapters.inference,
        judging=others.judging,
        enqueue=enqueue,
        min_interval=timedelta(seconds=settings.reevaluation_min_interval_s),
        clock=SystemClock(),
    )


def _passed_over(gate: ResourceKey, why: str) -> None:
    _log.info("reevaluation_passed_over", project=gate.project, gate=gate.id, why=why)


def _reevaluations(settings: EvaluatorSettings, backend: Backend, queue: QueueReevaluation) -> Controller[ResourceKey]:
    return Controller(
        "reevaluations",
        reconcile=lambda key, _: queue(Caller.of_service(key.project, "evaluator"), key.id),
        pending=backend.indexed(due_gates(backend.database["gates"], SystemClock().now)),
        max_concurrent=1,
        poll_interval=timedelta(seconds=settings.evaluation_poll_interval_s),
    )


def _estimate_power(settings: EvaluatorSettings, adapters: _Adapters, others: OfOtherFeatures) -> EstimatePower:
    return EstimatePower(
        gates=others.gates,
        suites=others.suites,
        cases=others.cases,
        evaluations=adapters.evaluations,
        results=adapters.results,
        levels=others.levels,
        inference=adapters.inference,
        powers=SimulatedPower(FairQueue("computations of power", settings.power_queue)),
        metrics=others.metrics,
        evidence=settings.evidence,
        limits=settings.limits,
    )


def _sweeps(backend: Backend, evaluations: Evaluations) -> Controller[SweepKey]:
    retained = Retained(holds=backend.holds, retention=backend.retention, kind=RetentionKind.EVALUATION_RESULTS)
    forget = ForgetResults(
        evaluations=evaluations,
        results=backend.database["case_results"],
        ages=retained.projects,
        spares=retained.spares,
        clock=SystemClock(),
    )
    return sweep_controller(
        {"old_case_results": forget}, leases=backend.leases("sweep_leases"), poll_interval=SWEEP_EVERY
    )


def _run_evaluation(
    settings: EvaluatorSettings, adapters: _Adapters, others: OfOtherFeatures, triggers: EvaluationTriggers
) -> RunEvaluation:
    maximum, share = settings.max_concurrent_answers, settings.answer_share
    patience = Patience(
        attempts=settings.answer_attempts,
        pause_s=settings.answer_pause_s,
        attempts_in_time=settings.answer_attempts_in_time,
    )
    return RunEvaluation(
        evaluations=adapters.evaluations,
        inference=adapters.inference,
        cases=others.cases,
        results=adapters.results,
        gather=CollectCases(
            suites=others.suites, models=adapters.models, datasets=adapters.datasets, limits=settings.limits
        ),
        levels=SpendLevel(levels=others.levels),
        ask=PairedAnswers(
            inference=adapters.inference,
            evaluations=adapters.evaluations,
            results=adapters.results,
            metrics=others.metrics,
            patience=patience,
        ),
        metrics=others.metrics,
        compute_verdict=ComputeVerdict(
            intervals=BettingIntervals(), metrics=others.metrics, evidence=settings.evidence
        ),
        compare_versions=CompareVersions(models=adapters.models),
        compare_prompts=ComparePrompts(prompts=adapters.inference, evaluations=adapters.evaluations),
        reference=ReadReference(evaluations=adapters.evaluations, cases=others.cases, results=adapters.results),
        compare_slices=CompareSlices(intervals=BettingIntervals(), metrics=others.metrics, evidence=settings.evidence),
        retrieval=others.retrieval,
        triggers=triggers,
        max_concurrent=asyncio.Semaphore(maximum),
        turns=lambda deadline_s, *, steady: Turns(
            Pace(maximum=maximum, share=share, steady=steady), deadline_s=deadline_s
        ),
        clock=SystemClock(),
    )
