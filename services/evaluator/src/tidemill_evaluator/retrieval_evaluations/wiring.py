"""Wires the retrieval evaluations: stores and rag's client, use cases, and the controller."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Caller, ResourceKey, SystemClock
from tidemill_evaluator.errors import EvaluationNotFound
from tidemill_evaluator.evaluations.messages import TOPIC
from tidemill_evaluator.evaluations.retention import SWEEP_EVERY, ForgetResults
from tidemill_evaluator.retrieval_evaluations.compare_for_gate import CompareForGate
from tidemill_evaluator.retrieval_evaluations.compute_figures import ComputeFigures
from tidemill_evaluator.retrieval_evaluations.crud import RetrievalEvaluationCrud
from tidemill_evaluator.retrieval_evaluations.grpc import GrpcRetrievalEvaluationService
from tidemill_evaluator.retrieval_evaluations.list_retrieval_results import ListRetrievalResults
from tidemill_evaluator.retrieval_evaluations.mongo import RETRIEVAL_EVALUATIONS, unfinished_retrieval_evaluations
from tidemill_evaluator.retrieval_evaluations.mongo_results import MongoRetrievalResults
from tidemill_evaluator.retrieval_evaluations.ports import RetrievalEvaluations
from tidemill_evaluator.retrieval_evaluations.rag import RagRetrieval
from tidemill_evaluator.retrieval_evaluations.run_retrieval_evaluation import RunRetrievalEvaluation
from tidemill_evaluator.retrieval_evaluations.search_case import SearchCase
from tidemill_evaluator.retrieval_evaluations.start_retrieval_evaluation import StartRetrievalEvaluation
from tidemill_evaluator.settings import EvaluatorSettings
from tidemill_evaluator.statistics.intervals import BettingIntervals
from tidemill_evaluator.suites.ports import Cases, Suites
from tidemill_kit.access.retention import RetentionKind
from tidemill_kit.erasure.retained import Retained
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.leases import Leases
from tidemill_kit.workers.sweeps import SweepKey, sweep_controller


@dataclass(frozen=True, slots=True, kw_only=True)
class WiredRetrievalEvaluations:
    """What `app.py` needs of retrieval evaluations."""

    servicer: GrpcRetrievalEvaluationService
    controller: Controller[ResourceKey]
    evaluations: RetrievalEvaluations
    leases: Leases
    sweeps: Controller[SweepKey]
    for_gates: CompareForGate


def wire_retrieval_evaluations(
    settings: EvaluatorSettings, backend: Backend, *, suites: Suites, cases: Cases
) -> WiredRetrievalEvaluations:
    """Return the RPCs and the controller."""
    evaluations: RetrievalEvaluations = backend.aggregates(
        "retrieval_evaluations",
        RETRIEVAL_EVALUATIONS,
        missing=EvaluationNotFound,
        topic=TOPIC,
        lists=[("collection",), ("suite",), ("collection", "suite"), ("state",)],
    )
    results = backend.indexed(MongoRetrievalResults(backend.database["retrieval_results"]))
    retrieval = RagRetrieval(backend.channel("rag", settings.rag_address, timeout_s=settings.call_timeout_s))
    leases = backend.leases("retrieval_evaluation_leases")
    run = RunRetrievalEvaluation(
        evaluations=evaluations,
        suites=suites,
        cases=cases,
        results=results,
        retrieval=retrieval,
        search=SearchCase(retrieval=retrieval, attempts=settings.answer_attempts, pause_s=settings.answer_pause_s),
        compute_figures=ComputeFigures(intervals=BettingIntervals()),
        max_concurrent=asyncio.Semaphore(settings.max_concurrent_searches),
        clock=SystemClock(),
    )
    controller = Controller[ResourceKey](
        "retrieval_evaluations",
        reconcile=lambda key, epoch: run(Caller.of_service(key.project, "evaluator"), key.id, epoch=epoch),
        pending=backend.indexed(unfinished_retrieval_evaluations(backend.database["retrieval_evaluations"])),
        leases=leases,
        max_concurrent=settings.retrieval_max_concurrent,
        poll_interval=timedelta(seconds=settings.evaluation_poll_interval_s),
    )
    servicer = GrpcRetrievalEvaluationService(
        evaluations=RetrievalEvaluationCrud(evaluations=evaluations, clock=SystemClock()),
        start=StartRetrievalEvaluation(
            evaluations=evaluations, suites=suites, retrieval=retrieval, enqueue=controller.enqueue
        ),
        list_results=ListRetrievalResults(evaluations=evaluations, cases=cases, results=results),
    )
    return WiredRetrievalEvaluations(
        servicer=servicer,
        controller=controller,
        evaluations=evaluations,
        leases=leases,
        sweeps=_sweeps(backend, evaluations),
        for_gates=CompareForGate(
            evaluations=evaluations,
            retrieval=retrieval,
            evidence=settings.evidence,
            enqueue=controller.enqueue,
            clock=SystemClock(),
        ),
    )


def _sweeps(backend: Backend, evaluations: RetrievalEvaluations) -> Controller[SweepKey]:
    retained = Retained(holds=backend.holds, retention=backend.retention, kind=RetentionKind.EVALUATION_RESULTS)
    forget = ForgetResults(
        evaluations=evaluations,
        results=backend.database["retrieval_results"],
        ages=retained.projects,
        spares=retained.spares,
        clock=SystemClock(),
    )
    return sweep_controller(
        {"old_retrieval_results": forget},
        leases=backend.leases("retrieval_sweep_leases"),
        poll_interval=SWEEP_EVERY,
    )
