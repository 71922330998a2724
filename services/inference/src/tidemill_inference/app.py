"""The composition root: the only module that sees adapters and entry points."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import grpc

from tidemill.inference.v1.deployment_service_pb2_grpc import add_DeploymentServiceServicer_to_server
from tidemill.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from tidemill.inference.v1.prompt_service_pb2_grpc import add_PromptServiceServicer_to_server
from tidemill_core.application import SystemClock
from tidemill_core.grpc.client import open_channel
from tidemill_inference.deployments.crud import CreateDeployment, DeleteDeployment, UpdateDeployment
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.grpc import DeploymentUseCases, GrpcDeploymentService
from tidemill_inference.deployments.mongo import DeploymentCodec
from tidemill_inference.deployments.resolve_configuration import ResolveConfiguration
from tidemill_inference.engines.chat_prompts import BoundedChat, prepare
from tidemill_inference.engines.limits import EngineLimits, SharedThreads
from tidemill_inference.engines.loaded_before import LoadedBefore
from tidemill_inference.engines.loading import EngineOptions
from tidemill_inference.engines.pool import LoadedEngines
from tidemill_inference.engines.remote import RemoteEngines, RemoteOptions
from tidemill_inference.engines.secrets import Secrets
from tidemill_inference.engines.trainer import TrainerModels
from tidemill_inference.engines.warm_up import WarmUp
from tidemill_inference.errors import DeploymentNotFound, InferenceNotFound, PromptNotFound
from tidemill_inference.generation.answer import AnswerQuestion
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.erase_end_user import EraseEndUser
from tidemill_inference.generation.generate import GenerateAnswer
from tidemill_inference.generation.grpc import GrpcInferenceService
from tidemill_inference.generation.ingest import IngestTexts
from tidemill_inference.generation.mongo import InferenceCodec
from tidemill_inference.generation.mongo_records import MongoRecords
from tidemill_inference.generation.rag import RagRetriever
from tidemill_inference.generation.reconcile import RecordKeeper
from tidemill_inference.generation.reservation import Reservations
from tidemill_inference.generation.retention import ForgetRecords
from tidemill_inference.generation.shadow import AnswerShadow
from tidemill_inference.generation.shared import SharedGenerations
from tidemill_inference.generation.show_prompt import ShowPrompt
from tidemill_inference.http.http_callers import ANY_HOST, is_loopback
from tidemill_inference.http.http_connections import ConnectionLimits
from tidemill_inference.http.http_server import HttpServer
from tidemill_inference.openai_api.feedback_service import FeedbackSubmissions
from tidemill_inference.openai_api.feedback_tokens import FeedbackTokens
from tidemill_inference.openai_api.routes import OpenAiApi
from tidemill_inference.prompts.bounded_templates import BoundedTemplates
from tidemill_inference.prompts.crud import CreatePrompt, DeletePrompt, LabelPrompt, UpdatePrompt
from tidemill_inference.prompts.domain.prompt import Prompt
from tidemill_inference.prompts.grpc import GrpcPromptService, PromptUseCases
from tidemill_inference.prompts.mongo import PromptCodec
from tidemill_inference.rollouts.commands import ApproveRollout, PromoteRollout, RollBackRollout
from tidemill_inference.rollouts.events import evaluations, reactions
from tidemill_inference.rollouts.follow_ups import FollowUps
from tidemill_inference.rollouts.mongo import (
    MongoActiveRollouts,
    MongoLiveModels,
    MongoOutcomes,
    MongoRolloutLeases,
)
from tidemill_inference.rollouts.outcomes import CountOutcomes, ForgetOutcomes, RecordOutcome, RecordRating
from tidemill_inference.rollouts.prepare_candidate import PrepareCandidate
from tidemill_inference.rollouts.reconcile import RolloutWorker
from tidemill_inference.rollouts.reconcile_rollout import ReconcileRollout
from tidemill_inference.rollouts.start_rollout import StartRollout
from tidemill_inference.rollouts.trainer import TrainerCandidates
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.events.kafka import Consumers, Publisher
from tidemill_kit.events.relay import Relay
from tidemill_kit.http.outgoing import AllowedHosts
from tidemill_kit.models import bounded_tokenizers
from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_kit.models.bounded_tokenizers import BoundedTokenizers
from tidemill_kit.models.numeric_format import computed_format
from tidemill_kit.service.app import App, Dependency, Worker
from tidemill_kit.store import mongo
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.objects import ExchangeBucket, ObjectStore
from tidemill_kit.workers.bounded_processes import BoundedProcesses, ProcessLimits
from tidemill_kit.workers.fair_share import Turns
from tidemill_kit.workers.leases import Leases

SOURCE = "/tidemill/inference"
INFERENCE_TOPIC = "tidemill.inference.inference.v1"
DEPLOYMENT_TOPIC = "tidemill.inference.deployment.v1"
_MB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """Everything behind the ports, and the clients that it stands on."""

    client: mongo.Client
    database: mongo.Database
    store: ObjectStore
    publisher: Publisher
    relay: Relay
    channels: tuple[grpc.aio.Channel, ...]
    prompts: MongoAggregates[Prompt]
    deployments: MongoAggregates[Deployment]
    inferences: MongoAggregates[Inference]
    outcomes: MongoOutcomes
    active: MongoActiveRollouts
    records: MongoRecords
    candidates: TrainerCandidates
    templates: BoundedTemplates
    models: TrainerModels
    retriever: RagRetriever
    engines: LoadedEngines
    tokenizers: BoundedProcesses
    texts: IngestTexts
    reactions: FeedbackSubmissions


async def build_app(settings: InferenceSettings, *, environment: Mapping[str, str]) -> App:
    """Put inference together, on the event loop that it will live on. Nothing is connected yet.

    `environment` holds the secrets INFERENCE_SECRET_<PROJECT>__<NAME>.
    """
    adapters = _adapters(settings, environment)
    warm_up = WarmUp(adapters.models, adapters.engines, first=_loaded_before(settings).read)
    generations = SharedGenerations(at_most=settings.max_generations, of_project=settings.max_generations_per_project)
    record = RecordOutcome(deployments=adapters.deployments, outcomes=adapters.outcomes)
    follow_ups = FollowUps(
        record=record, waiting=settings.shadows_waiting, max_concurrent=settings.max_concurrent_shadows
    )
    answer = replace(_answer(settings, adapters, generations), observe=follow_ups.observe)
    shadows = SharedGenerations(at_most=settings.max_concurrent_shadows)
    shadow = AnswerShadow(answer=replace(answer, generations=shadows))
    rollouts = _rollout_worker(settings, adapters)
    count = CountOutcomes(outcomes=adapters.outcomes)
    reconcile = _reconcile(adapters, count)
    consumers = _consumers(settings, adapters, rollouts)
    dependencies = [
        Dependency(name="mongodb", probe=lambda: mongo.ping(adapters.client)),
        Dependency(name="s3", probe=adapters.store.ping, needed_to_serve=False),
        Dependency(name="kafka", probe=adapters.publisher.ping, needed_to_serve=False),
        Dependency(name="engine", probe=adapters.engines.probe, needed_to_start=False),
    ]
    api = OpenAiApi(
        answer,
        adapters.deployments,
        reactions=adapters.reactions,
        feedback_tokens=_feedback_tokens(settings),
        clock=SystemClock(),
        max_body_bytes=settings.max_body_bytes,
        dependencies=dependencies,
        keep_alive_s=settings.http_keep_alive_s,
        cors_origins=settings.cors_origins,
        hosts=settings.http_hosts or (() if is_loopback(settings.host) else (ANY_HOST,)),
        principals_from=settings.http_principals,
    )
    return App(
        settings=settings,
        servicers=[
            (add_PromptServiceServicer_to_server, GrpcPromptService(_prompts(adapters))),
            (
                add_DeploymentServiceServicer_to_server,
                GrpcDeploymentService(_deployments(adapters, warm_up, rollouts, count)),
            ),
            (add_InferenceServiceServicer_to_server, _inferences(adapters, answer)),
        ],
        dependencies=dependencies,
        components=[
            Stores(adapters, data_dir=settings.data_dir),
            adapters.publisher,
            adapters.relay,
            adapters.templates,
            adapters.engines,
            Worker("warm-up", warm_up.run),
            Answers(generations, shadows),
            Worker("rollouts", lambda: rollouts.run(reconcile)),
            Worker("records", _record_keeper(settings, adapters).run),
            Worker("follow-ups", lambda: follow_ups.run(shadow)),
            HttpServer(
                api.app(),
                host=settings.host,
                port=settings.http_port,
                grace_s=settings.shutdown_grace_s / 2,
                limits=ConnectionLimits(
                    idle_s=settings.http_idle_s,
                    header_s=settings.http_header_s,
                    max_connections=settings.http_max_connections,
                ),
            ),
            consumers,
        ],
        consumers=consumers.status,
        outbox_length=adapters.relay.outbox_length,
    )


class Stores:
    """The component that prepares what the others write to."""

    def __init__(self, adapters: Adapters, *, data_dir: Path) -> None:
        self._adapters = adapters
        self._data_dir = data_dir

    async def start(self) -> None:
        """Create the folder and the indexes; repeating it changes nothing."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        made = self._adapters
        for indexed in (made.prompts, made.deployments, made.inferences, made.outcomes, made.active, made.records):
            await indexed.ensure_indexes()

    async def stop(self) -> None:
        """End the processes for tokenizers, and close the connections."""
        await self._adapters.tokenizers.stop()
        for channel in self._adapters.channels:
            await channel.close()
        self._adapters.client.close()


class Answers:
    """The component that ends what is still being answered when the service stops."""

    def __init__(self, *generations: SharedGenerations) -> None:
        self._generations = generations

    async def start(self) -> None:
        """Begin nothing: answers come with questions."""

    async def stop(self) -> None:
        """Cancel what still runs; its records say so."""
        for generations in self._generations:
            await generations.stop()


def _adapters(settings: InferenceSettings, environment: Mapping[str, str]) -> Adapters:
    client = mongo.connect(settings.mongo_uri, timeout_s=settings.dependency_timeout_s)
    database = client[settings.mongo_database]
    publisher = Publisher(settings.kafka)
    deployments, inferences = database["deployments"], database["inferences"]
    relay = Relay([deployments, inferences], publisher)
    trainer = open_channel(
        settings.trainer_address, name="trainer", timeout_s=settings.call_timeout_s, tls=settings.tls
    )
    rag = open_channel(settings.rag_address, name="rag", timeout_s=settings.call_timeout_s, tls=settings.tls)
    ingest = _channel(settings.ingest_address, name="ingest", settings=settings)
    feedback = _channel(settings.feedback_address, name="feedback", settings=settings)
    processes = BoundedProcesses(_prompt_limits(settings), "prompts", prepare)
    tokenizers = BoundedProcesses(_tokenizer_limits(settings), "tokenizers", bounded_tokenizers.prepare)
    store = ObjectStore(
        settings.s3_endpoint,
        settings.s3_access_key,
        settings.s3_secret_key.get_secret_value(),
        secure=settings.s3_secure,
        max_concurrent=settings.s3_max_concurrent,
        timeout_s=settings.s3_timeout_s,
    )
    return Adapters(
        client=client,
        database=database,
        store=store,
        publisher=publisher,
        relay=relay,
        channels=tuple(channel for channel in (trainer, rag, ingest, feedback) if channel is not None),
        prompts=MongoAggregates(
            database["prompts"],
            codec=PromptCodec(),
            topic="",
            source=SOURCE,
            missing=PromptNotFound,
            quota=settings.quota("prompts"),
        ),
        deployments=MongoAggregates(
            deployments,
            codec=DeploymentCodec(),
            topic=DEPLOYMENT_TOPIC,
            source=SOURCE,
            missing=DeploymentNotFound,
            enqueue=relay.enqueuer(deployments),
            quota=settings.quota("deployments"),
        ),
        inferences=MongoAggregates(
            inferences,
            codec=InferenceCodec(),
            topic=INFERENCE_TOPIC,
            source=SOURCE,
            missing=InferenceNotFound,
            enqueue=relay.enqueuer(inferences),
            lists=[("deployment",), ("end_user",)],
            usually_new=True,
        ),
        outcomes=MongoOutcomes(database["rollout_outcomes"]),
        active=MongoActiveRollouts(deployments),
        records=MongoRecords(deployments, inferences),
        candidates=TrainerCandidates(trainer, timeout_s=settings.call_timeout_s),
        templates=BoundedTemplates(processes),
        models=TrainerModels(trainer, timeout_s=settings.call_timeout_s, recheck_s=settings.remote_recheck_s),
        retriever=RagRetriever(rag, timeout_s=settings.call_timeout_s),
        engines=_engines(
            settings,
            store,
            secrets=Secrets(environment, settings.secrets_dir),
            live=MongoLiveModels(deployments),
            run_chat=BoundedChat(processes, BoundedTokenizers(tokenizers)),
        ),
        tokenizers=tokenizers,
        texts=IngestTexts(ingest, timeout_s=settings.call_timeout_s),
        reactions=FeedbackSubmissions(feedback, timeout_s=settings.call_timeout_s),
    )


def _prompt_limits(settings: InferenceSettings) -> ProcessLimits:
    return ProcessLimits(
        workers=settings.prompt_workers,
        cpu_s=settings.prompt_cpu_s,
        wall_s=settings.prompt_wall_s,
        memory_bytes=settings.prompt_memory_mb * _MB,
        share=max(1, settings.prompt_workers // 2),
        waiting=settings.prompts_waiting,
    )


def _tokenizer_limits(settings: InferenceSettings) -> ProcessLimits:
    return replace(
        _prompt_limits(settings),
        cpu_s=settings.tokenizer_cpu_s,
        wall_s=10 * settings.tokenizer_cpu_s,
        memory_bytes=settings.tokenizer_memory_mb * _MB,
    )


def _channel(address: str, *, name: str, settings: InferenceSettings) -> grpc.aio.Channel | None:
    """Return a channel to a service that may be left out."""
    return open_channel(address, name=name, timeout_s=settings.call_timeout_s, tls=settings.tls) if address else None


def _engines(
    settings: InferenceSettings,
    store: ObjectStore,
    *,
    secrets: Secrets,
    live: MongoLiveModels,
    run_chat: BoundedChat,
) -> LoadedEngines:
    limits = EngineLimits(
        cache_tokens=settings.engine_cache_tokens,
        batch=settings.engine_batch,
        step_tokens=settings.engine_step_tokens,
    )
    options = EngineOptions(
        numeric_format=computed_format(settings.numeric_format),
        memory_bytes=settings.engine_memory_mb * _MB,
        run_chat=run_chat,
        limits=limits,
        adapter_limits=replace(limits, cache_tokens=settings.engine_adapter_cache_tokens),
        threads=SharedThreads(settings.engine_threads),
        before=_loaded_before(settings),
        idle_s=settings.engine_idle_s,
    )
    remote = RemoteOptions(
        allowed=AllowedHosts.of(settings.remote_hosts),
        stall_s=settings.remote_stall_s,
        retries=settings.remote_retries,
        max_clients=settings.remote_clients,
    )
    cache = ArtifactCache(settings.data_dir, ExchangeBucket(store, settings.model_bucket))
    return LoadedEngines(cache, RemoteEngines(secrets, remote), live, options)


def _loaded_before(settings: InferenceSettings) -> LoadedBefore:
    return LoadedBefore(settings.data_dir / "loaded.json")


def _feedback_tokens(settings: InferenceSettings) -> FeedbackTokens | None:
    if settings.feedback_token_key is None:
        return None
    key = settings.feedback_token_key.get_secret_value().encode()
    return FeedbackTokens(key=key, lifetime=timedelta(days=settings.feedback_token_days))


def _answer(settings: InferenceSettings, adapters: Adapters, generations: SharedGenerations) -> AnswerQuestion:
    return AnswerQuestion(
        deployments=adapters.deployments,
        prompts=adapters.prompts,
        inferences=adapters.inferences,
        templates=adapters.templates,
        generations=generations,
        reservations=Reservations(
            inferences=adapters.inferences, clock=SystemClock(), ttl=timedelta(seconds=settings.lease_s)
        ),
        make=GenerateAnswer(
            templates=adapters.templates,
            models=adapters.models,
            retriever=adapters.retriever,
            engines=adapters.engines,
            threshold=settings.citation_threshold,
            cited_characters=settings.citation_max_characters,
            citation_turns=Turns(settings.citation_threads),
        ),
    )


def _inferences(adapters: Adapters, answer: AnswerQuestion) -> GrpcInferenceService:
    show_prompt = ShowPrompt(
        inferences=adapters.inferences,
        prompts=adapters.prompts,
        templates=adapters.templates,
        texts=adapters.texts,
    )
    erase = EraseEndUser(inferences=adapters.inferences, clock=SystemClock())
    return GrpcInferenceService(answer, adapters.inferences, show_prompt, erase)


def _record_keeper(settings: InferenceSettings, adapters: Adapters) -> RecordKeeper:
    leases = Leases(
        adapters.database["leases"],
        owner=str(uuid4()),
        ttl=timedelta(seconds=settings.lease_s),
        clock=SystemClock(),
    )
    forget = ForgetRecords(records=adapters.records, clock=SystemClock())
    return RecordKeeper(forget, leases, every_s=settings.record_sweep_s)


def _prompts(adapters: Adapters) -> PromptUseCases:
    prompts, templates, clock = adapters.prompts, adapters.templates, SystemClock()
    return PromptUseCases(
        prompts=prompts,
        create=CreatePrompt(prompts=prompts, templates=templates, clock=clock),
        update=UpdatePrompt(prompts=prompts, templates=templates, clock=clock),
        label=LabelPrompt(prompts=prompts),
        delete=DeletePrompt(prompts=prompts, deployments=adapters.deployments),
    )


def _deployments(
    adapters: Adapters, warm_up: WarmUp, rollouts: RolloutWorker, count: CountOutcomes
) -> DeploymentUseCases:
    deployments, clock, enqueue = adapters.deployments, SystemClock(), rollouts.enqueue
    resolve = ResolveConfiguration(prompts=adapters.prompts, models=adapters.models, retriever=adapters.retriever)
    return DeploymentUseCases(
        deployments=deployments,
        create=CreateDeployment(deployments=deployments, resolve=resolve, clock=clock, warm=warm_up.preload),
        update=UpdateDeployment(deployments=deployments, resolve=resolve, clock=clock, warm=warm_up.preload),
        delete=DeleteDeployment(deployments=deployments, outcomes=adapters.outcomes, clock=clock),
        count=count,
        promote=PromoteRollout(
            deployments=deployments, prepare=_prepare(adapters), count=count, clock=clock, enqueue=enqueue
        ),
        roll_back=RollBackRollout(
            deployments=deployments, count=count, clock=clock, warm=warm_up.preload, enqueue=enqueue
        ),
        approve=ApproveRollout(deployments=deployments, clock=clock, enqueue=enqueue),
    )


def _prepare(adapters: Adapters) -> PrepareCandidate:
    return PrepareCandidate(candidates=adapters.candidates, models=adapters.models, engines=adapters.engines)


def _reconcile(adapters: Adapters, count: CountOutcomes) -> ReconcileRollout:
    return ReconcileRollout(
        deployments=adapters.deployments,
        outcomes=adapters.outcomes,
        count=count,
        prepare=_prepare(adapters),
        clock=SystemClock(),
    )


def _rollout_worker(settings: InferenceSettings, adapters: Adapters) -> RolloutWorker:
    leases = Leases(
        adapters.database["rollout_leases"],
        owner=str(uuid4()),
        ttl=timedelta(seconds=settings.lease_s),
        clock=SystemClock(),
        removable=True,
    )
    return RolloutWorker(
        active=adapters.active,
        leases=MongoRolloutLeases(leases),
        deployments=adapters.deployments,
        models=adapters.models,
        engines=adapters.engines,
        forget=ForgetOutcomes(
            active=adapters.active,
            deployments=adapters.deployments,
            outcomes=adapters.outcomes,
            clock=SystemClock(),
        ),
        poll_interval_s=settings.rollout_poll_interval_s,
        tick_s=settings.rollout_tick_s,
    )


def _consumers(settings: InferenceSettings, adapters: Adapters, rollouts: RolloutWorker) -> Consumers:
    start = StartRollout(
        deployments=adapters.deployments, candidates=adapters.candidates, clock=SystemClock(), enqueue=rollouts.enqueue
    )
    rate = RecordRating(deployments=adapters.deployments, outcomes=adapters.outcomes)
    return Consumers(settings.kafka, [evaluations(start), reactions(rate)], adapters.publisher)
