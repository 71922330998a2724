"""Wires the judges: their store and RPCs, what judges for evaluations, and what measures judges."""

from dataclasses import dataclass, replace
from datetime import timedelta

from tidemill_core.application import Caller, ResourceKey, SystemClock
from tidemill_evaluator.errors import JudgeNotFound
from tidemill_evaluator.judges.ask_judge import AskJudge
from tidemill_evaluator.judges.crud import GatesOfJudge, JudgeCrud
from tidemill_evaluator.judges.feedback import FeedbackReviewQueues, UnknownReviewQueues
from tidemill_evaluator.judges.grpc import GrpcJudgeService
from tidemill_evaluator.judges.inference import InferenceJudges, InferenceRecords
from tidemill_evaluator.judges.judge_metrics import JudgeMetrics
from tidemill_evaluator.judges.measure_judge import MeasureJudge, StartMeasurement
from tidemill_evaluator.judges.mongo import JUDGES, measured_judges
from tidemill_evaluator.judges.mongo_items import MongoJudgedItems
from tidemill_evaluator.judges.pin_judges import PinJudges
from tidemill_evaluator.judges.ports import DisagreementIntervals, JudgedItems, Judges, ReviewQueues
from tidemill_evaluator.judges.score_answer import ScoreAnswer
from tidemill_evaluator.judges.watch_drift import WatchDrift
from tidemill_evaluator.settings import EvaluatorSettings
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.fair_share import Turns
from tidemill_kit.workers.leases import Leases


@dataclass(frozen=True, slots=True, kw_only=True)
class WiredJudges:
    """What `app.py` needs of judges."""

    judges: Judges
    metrics: JudgeMetrics
    leases: Leases
    controller: Controller[ResourceKey]
    start: StartMeasurement
    score: ScoreAnswer
    judged: JudgedItems

    def servicer(self, gates_of: GatesOfJudge) -> GrpcJudgeService:
        """Return the RPCs."""
        crud = JudgeCrud(judges=self.judges, judged=self.judged, gates_of=gates_of)
        return GrpcJudgeService(judges=crud, measure=self.start, score=self.score)


def wire_judges(settings: EvaluatorSettings, backend: Backend, *, intervals: DisagreementIntervals) -> WiredJudges:
    """Return the store, what judges, and what measures judges."""
    judges: Judges = backend.aggregates("judges", JUDGES, missing=JudgeNotFound, quota=settings.quota("judges"))
    inference = backend.channel("inference", settings.inference_address, timeout_s=settings.call_timeout_s)
    models = InferenceJudges(inference, answer_timeout_s=settings.answer_timeout_s)
    pins, queues = PinJudges(judges=judges, models=models), _queues(settings, backend)
    ask = AskJudge(
        models=models,
        attempts=settings.answer_attempts,
        pause_s=settings.answer_pause_s,
        turns=Turns(settings.max_concurrent_judgements),
    )
    records, judged = InferenceRecords(inference), backend.indexed(MongoJudgedItems(backend.database["judged_items"]))
    watch_drift = WatchDrift(
        judges=judges,
        judged=judged,
        records=records,
        ask=ask,
        max_cases=settings.judge_drift_cases,
        clock=SystemClock(),
    )
    measure = MeasureJudge(
        judges=judges,
        pins=pins,
        ask=ask,
        queues=queues,
        records=records,
        judged=judged,
        intervals=intervals,
        max_items=settings.max_measured_items,
        drift_cases=settings.judge_drift_cases,
        clock=SystemClock(),
    )
    leases = backend.leases("judge_leases")
    controller = Controller[ResourceKey](
        "judges",
        reconcile=lambda key, epoch: measure(Caller.of_service(key.project, "evaluator"), key.id, epoch=epoch),
        pending=backend.indexed(measured_judges(backend.database["judges"])),
        leases=leases,
        max_concurrent=settings.max_concurrent_judgements,
        poll_interval=timedelta(seconds=settings.evaluation_poll_interval_s),
    )
    return WiredJudges(
        judges=judges,
        metrics=JudgeMetrics(judges=judges, pins=pins, ask=ask, watch_drift=watch_drift),
        leases=leases,
        controller=controller,
        start=StartMeasurement(judges=judges, queues=queues, enqueue=controller.enqueue),
        score=ScoreAnswer(
            pins=pins, ask=replace(ask, waits_for_models=True), max_characters=settings.max_scored_characters
        ),
        judged=judged,
    )


def _queues(settings: EvaluatorSettings, backend: Backend) -> ReviewQueues:
    if not settings.feedback_address:
        return UnknownReviewQueues()
    return FeedbackReviewQueues(
        backend.channel("feedback", settings.feedback_address, timeout_s=settings.call_timeout_s)
    )
