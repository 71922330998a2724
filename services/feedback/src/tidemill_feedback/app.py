"""The composition root: the only module that sees adapters and entry points."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import grpc

from tidemill.feedback.v1.curation_service_pb2_grpc import add_CurationServiceServicer_to_server
from tidemill.feedback.v1.feedback_service_pb2_grpc import add_FeedbackServiceServicer_to_server
from tidemill_core.application import SystemClock
from tidemill_core.grpc.client import open_channel
from tidemill_feedback.curations.complete_curation import CompleteCuration
from tidemill_feedback.curations.create_curation import CreateCuration
from tidemill_feedback.curations.crud import UpdateCuration
from tidemill_feedback.curations.delete_curation import DeleteCuration
from tidemill_feedback.curations.domain.curation import Curation
from tidemill_feedback.curations.domain.ledger import CurationRef
from tidemill_feedback.curations.events import corrections
from tidemill_feedback.curations.exchange import ExchangeBatches
from tidemill_feedback.curations.grpc import GrpcCurationService, UseCases
from tidemill_feedback.curations.mongo import MongoCurations, mongo_curations
from tidemill_feedback.curations.mongo_ledger import MongoLedger
from tidemill_feedback.curations.mongo_prompts import MongoPrompts
from tidemill_feedback.curations.read_curations import ReadCurations
from tidemill_feedback.curations.reconcile import PendingCurations
from tidemill_feedback.curations.reconcile_curation import ReconcileCuration
from tidemill_feedback.curations.record_correction import RecordCorrection
from tidemill_feedback.curations.resolve_examples import ResolveExamples
from tidemill_feedback.reactions import submissions as kafka_submissions
from tidemill_feedback.reactions.crud import ReadFeedback
from tidemill_feedback.reactions.dead_letters import DeadSubmissions
from tidemill_feedback.reactions.domain.feedback import Feedback
from tidemill_feedback.reactions.erase_end_user import EraseEndUser
from tidemill_feedback.reactions.events import inferences
from tidemill_feedback.reactions.expire_pending import ExpirePending
from tidemill_feedback.reactions.grpc import GrpcFeedbackService
from tidemill_feedback.reactions.handle_submission import HandleSubmission
from tidemill_feedback.reactions.inference import InferenceAnswers
from tidemill_feedback.reactions.match_pending import MatchPending
from tidemill_feedback.reactions.mongo import mongo_feedback
from tidemill_feedback.reactions.mongo_pending import MongoPending
from tidemill_feedback.reactions.ports import Enqueue, PendingInference
from tidemill_feedback.reactions.submit_feedback import SubmitFeedback
from tidemill_feedback.reactions.withdraw_feedback import WithdrawFeedback
from tidemill_feedback.settings import FeedbackSettings
from tidemill_kit.events.kafka import Consumers, Publisher
from tidemill_kit.events.relay import Relay
from tidemill_kit.service.app import App, Dependency
from tidemill_kit.store import mongo
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.objects import ExchangeBucket, ObjectStore
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.leases import Leases


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """Everything behind the ports, and the clients that it stands on."""

    database: mongo.Database
    publisher: Publisher
    relay: Relay
    store: ObjectStore
    inference: grpc.aio.Channel
    feedback: MongoAggregates[Feedback]
    curations: MongoAggregates[Curation]
    ledger: MongoLedger
    pending: MongoPending
    prompts: MongoPrompts
    answers: InferenceAnswers
    batches: ExchangeBatches
    dead_letters: DeadSubmissions
    leases: Leases


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPoints:
    """What lets reactions in, and what waits behind."""

    submit: SubmitFeedback
    match: MatchPending
    take: HandleSubmission
    record: RecordCorrection


async def build_app(settings: FeedbackSettings) -> App:
    """Put feedback together, on the event loop that it will live on. Nothing is connected yet."""
    adapters = _adapters(settings)
    reconcile = _reconcile(settings, adapters)
    curations = Controller[CurationRef](
        "curations",
        reconcile=lambda ref, epoch: reconcile(ref, epoch=epoch),
        pending=PendingCurations(
            curations=MongoCurations(adapters.database["curations"]), ledger=adapters.ledger, clock=SystemClock()
        ),
        leases=adapters.leases,
        max_concurrent=settings.curation_max_concurrent,
        poll_interval=timedelta(seconds=settings.curation_poll_interval_s),
        debounce=timedelta(seconds=settings.curation_debounce_s),
    )
    entry_points = _entry_points(settings, adapters, curations.enqueue)
    submissions = kafka_submissions.Submissions(take=entry_points.take, record_bytes=settings.max_record_bytes)
    consumers = Consumers(
        settings.kafka,
        [
            submissions.subscription([settings.submission_topic]),
            inferences(entry_points.match),
            corrections(entry_points.record),
        ],
        adapters.publisher,
    )
    reading = ReadFeedback(feedback=adapters.feedback, pending=adapters.pending)
    erase = EraseEndUser(
        feedback=adapters.feedback,
        pending=adapters.pending,
        ledger=adapters.ledger,
        prompts=adapters.prompts,
        inferences=adapters.answers,
    )
    service = GrpcFeedbackService(
        submit=entry_points.submit,
        withdraw=WithdrawFeedback(feedback=adapters.feedback, clock=SystemClock(), keep=settings.kept_reactions),
        read=reading,
        erase=erase,
        clock=SystemClock(),
    )
    curation_service = GrpcCurationService(_use_cases(settings, adapters, curations.enqueue))
    client = adapters.database.client
    return App(
        settings=settings,
        servicers=[
            (add_FeedbackServiceServicer_to_server, service),
            (add_CurationServiceServicer_to_server, curation_service),
        ],
        dependencies=[
            Dependency(name="mongodb", probe=lambda: mongo.ping(client)),
            Dependency(name="s3", probe=adapters.store.ping, needed_to_serve=False),
            Dependency(name="kafka", probe=adapters.publisher.ping, needed_to_serve=False),
        ],
        components=[
            Stores(adapters, bucket=settings.exchange_bucket),
            adapters.publisher,
            adapters.relay,
            curations,
            _expiry(settings, adapters, entry_points.match),
            consumers,
        ],
        consumers=consumers.status,
        outbox_length=adapters.relay.outbox_length,
    )


class Stores:
    """The component that prepares what the others write to."""

    def __init__(self, adapters: Adapters, *, bucket: str) -> None:
        self._adapters = adapters
        self._bucket = bucket

    async def start(self) -> None:
        """Create the bucket and the indexes in MongoDB; repeating it changes nothing."""
        await self._adapters.store.ensure_bucket(self._bucket)
        await self._adapters.feedback.ensure_indexes()
        await self._adapters.curations.ensure_indexes()
        await self._adapters.ledger.ensure_indexes()
        await self._adapters.pending.ensure_indexes()

    async def stop(self) -> None:
        """Close connections after all their users have stopped."""
        await self._adapters.inference.close()
        self._adapters.database.client.close()


def _adapters(settings: FeedbackSettings) -> Adapters:
    database = mongo.connect(settings.mongo_uri, timeout_s=settings.dependency_timeout_s)[settings.mongo_database]
    publisher = Publisher(settings.kafka)
    feedback, curations = database["feedback"], database["curations"]
    relay = Relay([feedback, curations], publisher)
    store = ObjectStore(
        settings.s3_endpoint,
        settings.s3_access_key,
        settings.s3_secret_key.get_secret_value(),
        secure=settings.s3_secure,
        max_concurrent=settings.s3_max_concurrent,
    )
    inference = open_channel(settings.inference_address, name="inference", tls=settings.tls)
    return Adapters(
        database=database,
        publisher=publisher,
        relay=relay,
        store=store,
        inference=inference,
        feedback=mongo_feedback(feedback, enqueue=relay.enqueuer(feedback)),
        curations=mongo_curations(curations, enqueue=relay.enqueuer(curations), quota=settings.quota("curations")),
        ledger=MongoLedger(database["examples"], database["counts"]),
        pending=MongoPending(
            database["pending"],
            maximum=settings.max_pending,
            quota=settings.quota("pending_inferences", remedy="send it again once the inference is completed"),
        ),
        prompts=MongoPrompts(database["prompts"]),
        answers=InferenceAnswers(inference),
        batches=ExchangeBatches(ExchangeBucket(store, settings.exchange_bucket), max_bytes=settings.max_batch_bytes),
        dead_letters=DeadSubmissions(publisher, topic=kafka_submissions.DEAD_LETTERS, consumer=kafka_submissions.NAME),
        leases=Leases(
            database["leases"],
            owner=str(uuid4()),
            ttl=timedelta(seconds=settings.lease_ttl_s),
            clock=SystemClock(),
            removable=True,
        ),
    )


def _entry_points(settings: FeedbackSettings, adapters: Adapters, enqueue: Enqueue) -> EntryPoints:
    submit = SubmitFeedback(
        feedback=adapters.feedback,
        inferences=adapters.answers,
        clock=SystemClock(),
        limits=settings.limits,
        keep=settings.kept_reactions,
        trusted=settings.trusted_raters,
    )
    match = MatchPending(
        pending=adapters.pending, inferences=adapters.answers, submit=submit, dead_letters=adapters.dead_letters
    )
    take = HandleSubmission(submit=submit, match=match, pending=adapters.pending, clock=SystemClock())
    record = RecordCorrection(
        feedback=adapters.feedback, curations=adapters.curations, ledger=adapters.ledger, enqueue=enqueue
    )
    return EntryPoints(submit=submit, match=match, take=take, record=record)


def _expiry(settings: FeedbackSettings, adapters: Adapters, match: MatchPending) -> Controller[PendingInference]:
    expire = ExpirePending(
        pending=adapters.pending,
        match=match,
        dead_letters=adapters.dead_letters,
        clock=SystemClock(),
        wait=timedelta(seconds=settings.pending_wait_s),
    )
    return Controller(
        "pending",
        reconcile=lambda ref, _: expire(ref),
        pending=expire.expired,
        leases=adapters.leases,
        max_concurrent=1,
        poll_interval=timedelta(seconds=settings.pending_poll_interval_s),
    )


def _reconcile(settings: FeedbackSettings, adapters: Adapters) -> ReconcileCuration:
    clock = SystemClock()
    return ReconcileCuration(
        curations=adapters.curations,
        feedback=adapters.feedback,
        ledger=adapters.ledger,
        resolve=ResolveExamples(
            feedback=adapters.feedback,
            inferences=adapters.answers,
            prompts=adapters.prompts,
            ledger=adapters.ledger,
            max_concurrent=settings.max_concurrent_prompts,
        ),
        complete=CompleteCuration(
            curations=adapters.curations,
            feedback=adapters.feedback,
            ledger=adapters.ledger,
            prompts=adapters.prompts,
            batches=adapters.batches,
            clock=clock,
        ),
        clock=clock,
        at_most=settings.max_batch_examples,
        exact_rows=settings.exact_rows,
    )


def _use_cases(settings: FeedbackSettings, adapters: Adapters, enqueue: Enqueue) -> UseCases:
    curations, at_most = adapters.curations, settings.max_batch_examples
    return UseCases(
        create=CreateCuration(curations=curations, clock=SystemClock(), enqueue=enqueue, at_most=at_most),
        read=ReadCurations(curations=curations, ledger=adapters.ledger),
        update=UpdateCuration(curations=curations, enqueue=enqueue, at_most=at_most),
        delete=DeleteCuration(curations=curations, enqueue=enqueue),
    )
