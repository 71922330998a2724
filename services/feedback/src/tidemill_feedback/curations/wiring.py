"""Wires the curations: their stores, use cases and controller."""

from dataclasses import dataclass
from datetime import timedelta

import grpc

from tidemill_core.application import Caller, SystemClock
from tidemill_feedback.curations.complete_curation import CompleteCuration
from tidemill_feedback.curations.crud import CurationCrud
from tidemill_feedback.curations.domain.ledger import CurationRef
from tidemill_feedback.curations.exchange import ExchangeBatches
from tidemill_feedback.curations.forget_examples import ForgetExamples
from tidemill_feedback.curations.inference import InferencePrompts
from tidemill_feedback.curations.measuring import measure
from tidemill_feedback.curations.messages import TOPIC
from tidemill_feedback.curations.mongo import CURATIONS, MongoCurations
from tidemill_feedback.curations.mongo_ledger import MongoLedger
from tidemill_feedback.curations.mongo_prompts import MongoPrompts
from tidemill_feedback.curations.ports import CurationStore
from tidemill_feedback.curations.reconcile import PendingCurations
from tidemill_feedback.curations.reconcile_curation import ReconcileCuration
from tidemill_feedback.curations.record_correction import RecordCorrection
from tidemill_feedback.curations.resolve_examples import ResolveExamples
from tidemill_feedback.errors import CurationNotFound
from tidemill_feedback.reactions.ports import FeedbackStore
from tidemill_feedback.settings import FeedbackSettings
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller


@dataclass(frozen=True, slots=True)
class _Stores:
    feedback: FeedbackStore
    curations: CurationStore
    ledger: MongoLedger
    prompts: MongoPrompts


@dataclass(frozen=True, slots=True, kw_only=True)
class WiredCurations:
    """What `app.py` needs of curations."""

    crud: CurationCrud
    record: RecordCorrection
    forget_examples: ForgetExamples
    controller: Controller[CurationRef]


def wire_curations(
    settings: FeedbackSettings, backend: Backend, feedback: FeedbackStore, inference: grpc.aio.Channel
) -> WiredCurations:
    """Return use cases and controller."""
    clock, database, at_most = SystemClock(), backend.database, settings.max_batch_examples
    curations = backend.aggregates(
        "curations",
        CURATIONS,
        missing=CurationNotFound,
        topic=TOPIC,
        lists=[("rule.deployment",)],
        quota=settings.quota("curations"),
    )
    ledger = backend.indexed(MongoLedger(database["examples"], database["counts"]))
    prompts = MongoPrompts(database["prompts"])
    reconcile = _reconcile(settings, backend, _Stores(feedback, curations, ledger, prompts), inference)
    controller = Controller[CurationRef](
        "curations",
        reconcile=lambda ref, epoch: reconcile(Caller.of_service(ref.project, "feedback"), ref, epoch=epoch),
        pending=PendingCurations(curations=MongoCurations(database["curations"]), ledger=ledger, clock=clock),
        leases=backend.leases("leases"),
        max_concurrent=settings.curation_max_concurrent,
        poll_interval=timedelta(seconds=settings.curation_poll_interval_s),
        debounce=timedelta(seconds=settings.curation_debounce_s),
    )
    enqueue = controller.enqueue
    return WiredCurations(
        crud=CurationCrud(curations=curations, ledger=ledger, clock=clock, enqueue=enqueue, at_most=at_most),
        record=RecordCorrection(feedback=feedback, curations=curations, ledger=ledger, enqueue=enqueue),
        forget_examples=ForgetExamples(ledger=ledger, prompts=prompts),
        controller=controller,
    )


def _reconcile(
    settings: FeedbackSettings, backend: Backend, stores: _Stores, inference: grpc.aio.Channel
) -> ReconcileCuration:
    clock = SystemClock()
    return ReconcileCuration(
        curations=stores.curations,
        feedback=stores.feedback,
        ledger=stores.ledger,
        resolve=ResolveExamples(
            feedback=stores.feedback,
            recorded=InferencePrompts(inference),
            prompts=stores.prompts,
            ledger=stores.ledger,
            measure=measure,
            max_concurrent=settings.max_concurrent_prompts,
        ),
        complete=CompleteCuration(
            curations=stores.curations,
            feedback=stores.feedback,
            ledger=stores.ledger,
            prompts=stores.prompts,
            batches=ExchangeBatches(backend.own_bucket(settings.exchange_bucket), max_bytes=settings.max_batch_bytes),
            clock=clock,
        ),
        clock=clock,
        at_most=settings.max_batch_examples,
        exact_rows=settings.exact_rows,
    )
