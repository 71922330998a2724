"""Wires the evaluations: stores and clients, use cases, and controllers."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Caller, ResourceKey, SystemClock
from tidemill_evaluator.errors import EvaluationNotFound
from tidemill_evaluator.evaluations.collect_cases import CollectCases
from tidemill_evaluator.evaluations.compute_verdict import ComputeVerdict
from tidemill_evaluator.evaluations.crud import EvaluationCrud
from tidemill_evaluator.evaluations.domain.pace import Pace
from tidemill_evaluator.evaluations.inference import InferenceService
from tidemill_evaluator.evaluations.ingest import IngestDatasets
from tidemill_evaluator.evaluations.list_case_results import ListCaseResults
from tidemill_evaluator.evaluations.messages import TOPIC
from tidemill_evaluator.evaluations.mongo import EVALUATIONS, unfinished_evaluations
from tidemill_evaluator.evaluations.mongo_case_results import MongoCaseResults
from tidemill_evaluator.evaluations.paired_answers import PairedAnswers, Patience
from tidemill_evaluator.evaluations.ports import CaseResults, Inference
from tidemill_evaluator.evaluations.run_evaluation import RunEvaluation
from tidemill_evaluator.evaluations.start_evaluation import StartEvaluation
from tidemill_evaluator.evaluations.trainer import TrainerModels
from tidemill_evaluator.evaluations.triggers import EvaluationTriggers
from tidemill_evaluator.evaluations.turns import Turns
from tidemill_evaluator.gates.ports import Gates, GatesOfCandidates
from tidemill_evaluator.settings import EvaluatorSettings
from tidemill_evaluator.statistics.intervals import BettingIntervals
from tidemill_evaluator.statistics.rouge import RougeScores
from tidemill_evaluator.suites.ports import Cases, Suites
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller


@dataclass(frozen=True, slots=True, kw_only=True)
class WiredEvaluations:
    """What `app.py` needs of evaluations."""

    crud: EvaluationCrud
    start: StartEvaluation
    list_case_results: ListCaseResults
    triggers: EvaluationTriggers
    controller: Controller[ResourceKey]


def own(key: ResourceKey) -> Caller:
    """Return the caller of background work."""
    return Caller(project=key.project, subject="tidemill-evaluator")


def wire_evaluations(  # noqa: PLR0913 - what other features have is passed once
    settings: EvaluatorSettings,
    backend: Backend,
    *,
    suites: Suites,
    gates: Gates,
    by_candidate: GatesOfCandidates,
    cases: Cases,
) -> WiredEvaluations:
    """Return use cases and controller."""
    channels = {
        name: backend.channel(name, address, timeout_s=settings.call_timeout_s)
        for name, address in (
            ("inference", settings.inference_address),
            ("ingest", settings.ingest_address),
            ("trainer", settings.trainer_address),
        )
    }
    inference = InferenceService(channels["inference"], answer_timeout_s=settings.answer_timeout_s)
    models, results = TrainerModels(channels["trainer"]), MongoCaseResults(backend.database["case_results"])
    evaluations = backend.aggregates(
        "evaluations",
        EVALUATIONS,
        missing=EvaluationNotFound,
        topic=TOPIC,
        lists=[("gate",), ("candidate",), ("gate", "candidate")],
    )
    controller = Controller[ResourceKey](
        "evaluations",
        reconcile=lambda key, epoch: run(own(key), key.id, epoch=epoch),
        pending=backend.indexed(unfinished_evaluations(backend.database["evaluations"])),
        leases=backend.leases("evaluation_leases"),
        max_concurrent=settings.evaluation_max_concurrent,
        poll_interval=timedelta(seconds=settings.evaluation_poll_interval_s),
    )
    triggers = EvaluationTriggers(
        evaluations=evaluations,
        gates=gates,
        by_candidate=by_candidate,
        attempts=settings.attempts,
        enqueue=controller.enqueue,
    )
    run = RunEvaluation(
        evaluations=evaluations,
        inference=inference,
        cases=cases,
        results=results,
        gather=CollectCases(
            suites=suites, models=models, datasets=IngestDatasets(channels["ingest"]), limits=settings.limits
        ),
        ask=_paired_answers(settings, inference, results),
        compute_verdict=ComputeVerdict(intervals=BettingIntervals(), evidence=settings.evidence),
        triggers=triggers,
        max_concurrent=asyncio.Semaphore(settings.max_concurrent_answers),
        turns=lambda deadline_s: Turns(
            Pace(maximum=settings.max_concurrent_answers, share=settings.answer_share), deadline_s=deadline_s
        ),
        clock=SystemClock(),
    )
    return WiredEvaluations(
        crud=EvaluationCrud(evaluations=evaluations, clock=SystemClock()),
        start=StartEvaluation(
            evaluations=evaluations,
            gates=gates,
            suites=suites,
            models=models,
            inference=inference,
            limits=settings.limits,
            enqueue=controller.enqueue,
        ),
        list_case_results=ListCaseResults(evaluations=evaluations, cases=cases, results=results),
        triggers=triggers,
        controller=controller,
    )


def _paired_answers(settings: EvaluatorSettings, inference: Inference, results: CaseResults) -> PairedAnswers:
    patience = Patience(
        attempts=settings.answer_attempts,
        pause_s=settings.answer_pause_s,
        attempts_in_time=settings.answer_attempts_in_time,
    )
    return PairedAnswers(inference=inference, results=results, scores=RougeScores(), patience=patience)
