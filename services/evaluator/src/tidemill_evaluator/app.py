"""The composition root: the only module that sees adapters and entry points."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

from tidemill.evaluator.v1.evaluation_service_pb2_grpc import add_EvaluationServiceServicer_to_server
from tidemill.evaluator.v1.suite_service_pb2_grpc import add_SuiteServiceServicer_to_server
from tidemill_core.aggregate import Aggregate
from tidemill_core.application import SystemClock
from tidemill_core.errors import NotFound
from tidemill_core.grpc.client import open_channel
from tidemill_core.quotas import Quota
from tidemill_evaluator.errors import EvaluationNotFound, GateNotFound, SuiteNotFound
from tidemill_evaluator.evaluations.collect_cases import CollectCases
from tidemill_evaluator.evaluations.compute_verdict import ComputeVerdict
from tidemill_evaluator.evaluations.crud import CancelEvaluation
from tidemill_evaluator.evaluations.domain.comparison import Evidence
from tidemill_evaluator.evaluations.domain.pace import Pace
from tidemill_evaluator.evaluations.events import candidates
from tidemill_evaluator.evaluations.grpc import GrpcEvaluationService, UseCases
from tidemill_evaluator.evaluations.inference import InferenceService
from tidemill_evaluator.evaluations.ingest import IngestDatasets
from tidemill_evaluator.evaluations.list_case_results import ListCaseResults
from tidemill_evaluator.evaluations.mongo import EvaluationCodec
from tidemill_evaluator.evaluations.mongo_case_results import MongoCaseResults
from tidemill_evaluator.evaluations.mongo_pending import deferring_gates, unfinished_evaluations
from tidemill_evaluator.evaluations.paired_answers import PairedAnswers, Patience
from tidemill_evaluator.evaluations.run_evaluation import RunEvaluation
from tidemill_evaluator.evaluations.start_evaluation import StartEvaluation
from tidemill_evaluator.evaluations.trainer import TrainerModels
from tidemill_evaluator.evaluations.triggers import EvaluationTriggers
from tidemill_evaluator.evaluations.turns import Turns
from tidemill_evaluator.gates.crud import ChangeGates
from tidemill_evaluator.gates.mongo import CandidateGatesCodec, GateCodec, SuiteCodec
from tidemill_evaluator.settings import EvaluatorSettings
from tidemill_evaluator.statistics.intervals import BettingIntervals
from tidemill_evaluator.statistics.rouge import RougeScores
from tidemill_evaluator.suites.crud import ChangeSuites
from tidemill_evaluator.suites.exchange import ExchangeCases
from tidemill_evaluator.suites.grpc import GrpcSuiteService
from tidemill_kit.events.kafka import Consumers, Publisher
from tidemill_kit.events.relay import Relay
from tidemill_kit.service.app import App, Component, Dependency
from tidemill_kit.store import mongo
from tidemill_kit.store.aggregates import Codec, MongoAggregates
from tidemill_kit.store.mongo import Collection
from tidemill_kit.store.objects import ObjectStore
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.leases import Leases

A = TypeVar("A", bound=Aggregate)

SOURCE = "/tidemill/evaluator"
EVALUATION_TOPIC = "tidemill.evaluator.evaluation.v1"
_NO_TOPIC = ""


async def build_app(settings: EvaluatorSettings) -> App:
    """Build evaluator on the running event loop; nothing connects before `start`."""
    adapters = _Adapters(settings)
    parts = _Parts(settings, adapters)
    consumers = Consumers(settings.kafka, [candidates(parts.triggers)], adapters.publisher)
    return App(
        settings=settings,
        servicers=[
            (add_SuiteServiceServicer_to_server, parts.suite_service),
            (add_EvaluationServiceServicer_to_server, parts.evaluation_service),
        ],
        dependencies=[
            Dependency(name="mongodb", probe=lambda: mongo.ping(adapters.database.client)),
            Dependency(name="s3", probe=adapters.store.ping),
            Dependency(name="kafka", probe=adapters.publisher.ping, needed_to_serve=False),
        ],
        components=[
            _Ground(adapters, bucket=settings.exchange_bucket),
            adapters.publisher,
            adapters.relay,
            consumers,
            *parts.controllers,
        ],
        consumers=consumers.status,
        outbox_length=adapters.relay.outbox_length,
    )


class _Adapters:
    """All adapters, and the clients that they use."""

    def __init__(self, settings: EvaluatorSettings) -> None:
        client = mongo.connect(settings.mongo_uri, timeout_s=settings.dependency_timeout_s)
        self.database = client[settings.mongo_database]
        self.publisher = Publisher(settings.kafka)
        self.relay = Relay([self.database["evaluations"]], self.publisher)
        self.store = ObjectStore(
            settings.s3_endpoint,
            settings.s3_access_key,
            settings.s3_secret_key.get_secret_value(),
            secure=settings.s3_secure,
            max_concurrent=settings.s3_max_concurrent,
        )
        suites, gates = settings.quota("suites"), settings.quota("gates")
        self.suites = _declared(self.database["suites"], SuiteCodec(), SuiteNotFound, quota=suites)
        self.gates = _declared(self.database["gates"], GateCodec(), GateNotFound, quota=gates)
        self.by_candidate = _declared(self.database["gates_of_candidates"], CandidateGatesCodec(), NotFound)
        self.evaluations = MongoAggregates(
            self.database["evaluations"],
            codec=EvaluationCodec(),
            topic=EVALUATION_TOPIC,
            source=SOURCE,
            missing=EvaluationNotFound,
            enqueue=self.relay.enqueuer(self.database["evaluations"]),
            lists=[("gate",), ("candidate",), ("gate", "candidate")],
        )
        self.results = MongoCaseResults(self.database["case_results"])
        self.unfinished = unfinished_evaluations(self.database["evaluations"])
        self.deferring = deferring_gates(self.database["gates"])
        self.cases = ExchangeCases(
            self.store, bucket=settings.exchange_bucket, dataset_buckets=settings.dataset_buckets
        )
        self.leases = Leases(
            self.database["evaluation_leases"],
            owner=str(uuid4()),
            ttl=timedelta(seconds=settings.lease_ttl_s),
            clock=SystemClock(),
            removable=True,
        )
        self.channels = {
            name: open_channel(address, name=name, timeout_s=settings.call_timeout_s, tls=settings.tls)
            for name, address in (
                ("inference", settings.inference_address),
                ("ingest", settings.ingest_address),
                ("trainer", settings.trainer_address),
            )
        }
        self.inference = InferenceService(self.channels["inference"], answer_timeout_s=settings.answer_timeout_s)
        self.models = TrainerModels(self.channels["trainer"])
        self.datasets = IngestDatasets(self.channels["ingest"])


class _Parts:
    """Use cases and entry points."""

    def __init__(self, settings: EvaluatorSettings, adapters: _Adapters) -> None:
        limits, poll_interval = settings.limits, timedelta(seconds=settings.evaluation_poll_interval_s)
        evaluations = Controller(
            "evaluations",
            reconcile=lambda name, epoch: run(name, epoch=epoch),
            pending=adapters.unfinished,
            leases=adapters.leases,
            max_concurrent=settings.evaluation_max_concurrent,
            poll_interval=poll_interval,
        )
        self.triggers = EvaluationTriggers(
            evaluations=adapters.evaluations,
            gates=adapters.gates,
            by_candidate=adapters.by_candidate,
            attempts=settings.attempts,
            enqueue=evaluations.enqueue,
        )
        changing = ChangeSuites(
            suites=adapters.suites,
            gates=adapters.gates,
            contents=adapters.cases,
            cases=adapters.cases,
            limits=limits,
        )
        self.suite_service = GrpcSuiteService(suites=adapters.suites, changing=changing)
        self.evaluation_service = GrpcEvaluationService(
            UseCases(
                gates=adapters.gates,
                evaluations=adapters.evaluations,
                change_gates=ChangeGates(
                    gates=adapters.gates, by_candidate=adapters.by_candidate, triggers=self.triggers, limits=limits
                ),
                start=StartEvaluation(
                    evaluations=adapters.evaluations,
                    gates=adapters.gates,
                    suites=adapters.suites,
                    models=adapters.models,
                    inference=adapters.inference,
                    limits=limits,
                    enqueue=evaluations.enqueue,
                ),
                cancel=CancelEvaluation(evaluations=adapters.evaluations, clock=SystemClock()),
                list_case_results=ListCaseResults(
                    evaluations=adapters.evaluations, cases=adapters.cases, results=adapters.results
                ),
            )
        )
        run = _run_evaluation(settings, adapters, self.triggers)
        deferred = Controller(
            "deferred_evaluations",
            reconcile=lambda name, _: self.triggers.start_deferred(name.project, name.gate),
            pending=adapters.deferring,
            max_concurrent=1,
            poll_interval=poll_interval,
        )
        self.controllers: list[Component] = [evaluations, deferred]


def _run_evaluation(settings: EvaluatorSettings, adapters: _Adapters, triggers: EvaluationTriggers) -> RunEvaluation:
    return RunEvaluation(
        evaluations=adapters.evaluations,
        inference=adapters.inference,
        cases=adapters.cases,
        results=adapters.results,
        gather=CollectCases(
            suites=adapters.suites, models=adapters.models, datasets=adapters.datasets, limits=settings.limits
        ),
        ask=PairedAnswers(
            inference=adapters.inference,
            results=adapters.results,
            scores=RougeScores(),
            patience=Patience(
                attempts=settings.answer_attempts,
                pause_s=settings.answer_pause_s,
                attempts_in_time=settings.answer_attempts_in_time,
            ),
        ),
        compute_verdict=ComputeVerdict(
            intervals=BettingIntervals(),
            evidence=Evidence(min_questions=settings.min_questions, max_unanswered=settings.max_unanswered),
        ),
        triggers=triggers,
        max_concurrent=asyncio.Semaphore(settings.max_concurrent_answers),
        turns=lambda deadline_s: Turns(
            Pace(maximum=settings.max_concurrent_answers, share=settings.answer_share), deadline_s=deadline_s
        ),
        clock=SystemClock(),
    )


class _Ground:
    """Component that creates bucket and indexes before the others start."""

    def __init__(self, adapters: _Adapters, *, bucket: str) -> None:
        self._adapters = adapters
        self._bucket = bucket

    async def start(self) -> None:
        """Create bucket and indexes; idempotent."""
        await self._adapters.store.ensure_bucket(self._bucket)
        await self._adapters.suites.ensure_indexes()
        await self._adapters.gates.ensure_indexes()
        await self._adapters.evaluations.ensure_indexes()
        await self._adapters.unfinished.ensure_indexes()
        await self._adapters.deferring.ensure_indexes()

    async def stop(self) -> None:
        """Close the connections."""
        for channel in self._adapters.channels.values():
            await channel.close()
        self._adapters.database.client.close()


def _declared(
    collection: Collection, codec: Codec[A], missing: Callable[[str], NotFound], quota: Quota | None = None
) -> MongoAggregates[A]:
    """Return aggregates that emit no events."""
    return MongoAggregates(collection, codec=codec, topic=_NO_TOPIC, source=SOURCE, missing=missing, quota=quota)
