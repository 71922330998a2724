"""The composition root: the only module that sees adapters and entry points."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from tidemill.inference.v1.deployment_service_pb2_grpc import add_DeploymentServiceServicer_to_server
from tidemill.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from tidemill.inference.v1.prompt_service_pb2_grpc import add_PromptServiceServicer_to_server
from tidemill_core.application import SystemClock
from tidemill_inference.deployments.crud import CreateDeployment, DeleteDeployment, UpdateDeployment
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.grpc import DeploymentUseCases, GrpcDeploymentService
from tidemill_inference.deployments.mongo import DEPLOYMENTS, MongoLiveModels
from tidemill_inference.deployments.resolve_configuration import ResolveConfiguration
from tidemill_inference.engines.chat_prompts import prepare
from tidemill_inference.engines.ports import Warm
from tidemill_inference.engines.wiring import wire_engines
from tidemill_inference.errors import DeploymentNotFound, InferenceNotFound, PromptNotFound
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.mongo import INFERENCES, MongoRecords
from tidemill_inference.generation.rag import RagRetriever
from tidemill_inference.generation.reconcile import SweepKey, sweep_controller
from tidemill_inference.generation.retention import ForgetRecords
from tidemill_inference.generation.wiring import wire_generation
from tidemill_inference.openai_api.wiring import wire_openai_api
from tidemill_inference.prompts.bounded_templates import BoundedTemplates
from tidemill_inference.prompts.crud import CreatePrompt, DeletePrompt, LabelPrompt, UpdatePrompt
from tidemill_inference.prompts.domain.prompt import Prompt
from tidemill_inference.prompts.grpc import GrpcPromptService, PromptUseCases
from tidemill_inference.prompts.mongo import PROMPTS
from tidemill_inference.rollouts.commands import ApproveRollout, PromoteRollout, RollBackRollout
from tidemill_inference.rollouts.outcomes import ForgetOutcomes
from tidemill_inference.rollouts.wiring import RolloutParts, wire_rollouts
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.service.app import App, Worker
from tidemill_kit.service.backend import Backend
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.workers.bounded_processes import BoundedProcesses
from tidemill_kit.workers.controller import Controller


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """The aggregates of all features."""

    prompts: MongoAggregates[Prompt]
    deployments: MongoAggregates[Deployment]
    inferences: MongoAggregates[Inference]


async def build_app(settings: InferenceSettings, *, environment: Mapping[str, str]) -> App:
    """Put inference together, on the event loop that it will live on. Nothing is connected yet.

    `environment` holds the secrets INFERENCE_SECRET_<PROJECT>__<NAME>.
    """
    backend = Backend(settings, serves_without_objects=True)
    backend.on_start(lambda: asyncio.to_thread(settings.data_dir.mkdir, parents=True, exist_ok=True))
    stores = wire_stores(settings, backend)
    trainer = backend.channel("trainer", settings.trainer_address, timeout_s=settings.call_timeout_s)
    rag = backend.channel("rag", settings.rag_address, timeout_s=settings.call_timeout_s)
    retriever = RagRetriever(rag, timeout_s=settings.call_timeout_s)
    processes = BoundedProcesses(settings.prompt_limits, "prompts", prepare)
    templates, live = BoundedTemplates(processes), MongoLiveModels(backend.database["deployments"])
    engines = wire_engines(
        settings, backend, trainer=trainer, live=live, chat_processes=processes, environment=environment
    )
    pool, models, warm_up = engines.pool, engines.models, engines.warm_up
    rollouts = wire_rollouts(
        settings, backend, deployments=stores.deployments, models=models, engines=pool, trainer=trainer
    )
    generation = wire_generation(
        settings,
        backend,
        deployments=stores.deployments,
        prompts=stores.prompts,
        inferences=stores.inferences,
        templates=templates,
        models=models,
        engines=pool,
        retriever=retriever,
        observe=rollouts.follow_ups.observe,
    )
    resolve = ResolveConfiguration(prompts=stores.prompts, models=models, retriever=retriever)
    deployments = wire_deployments(stores, resolve, rollouts, warm_up.preload)
    return backend.app(
        servicers=[
            (add_PromptServiceServicer_to_server, wire_prompts(stores, templates)),
            (add_DeploymentServiceServicer_to_server, deployments),
            (add_InferenceServiceServicer_to_server, generation.servicer),
        ],
        consumers=rollouts.consumers,
        components=[templates, pool, Worker("warm-up", warm_up.run), generation],
        workers=[
            rollouts.controllers.advancing,
            rollouts.controllers.holding,
            wire_sweeps(settings, backend, rollouts.forget),
            Worker("follow-ups", lambda: rollouts.follow_ups.run(generation.shadow)),
        ],
        servers=[wire_openai_api(settings, backend, answer=generation.answer, deployments=stores.deployments)],
    )


def wire_stores(settings: InferenceSettings, backend: Backend) -> Stores:
    """Return the aggregates."""
    return Stores(
        prompts=backend.aggregates("prompts", PROMPTS, missing=PromptNotFound, quota=settings.quota("prompts")),
        deployments=backend.aggregates(
            "deployments",
            DEPLOYMENTS,
            missing=DeploymentNotFound,
            topic="tidemill.inference.deployment.v1",
            quota=settings.quota("deployments"),
        ),
        inferences=backend.aggregates(
            "inferences",
            INFERENCES,
            missing=InferenceNotFound,
            topic="tidemill.inference.inference.v1",
            lists=[("deployment",), ("end_user",)],
            usually_new=True,
        ),
    )


def wire_prompts(stores: Stores, templates: BoundedTemplates) -> GrpcPromptService:
    """Return the API of prompts."""
    prompts, clock = stores.prompts, SystemClock()
    use_cases = PromptUseCases(
        prompts=prompts,
        create=CreatePrompt(prompts=prompts, templates=templates, clock=clock),
        update=UpdatePrompt(prompts=prompts, templates=templates, clock=clock),
        label=LabelPrompt(prompts=prompts),
        delete=DeletePrompt(prompts=prompts, deployments=stores.deployments),
    )
    return GrpcPromptService(use_cases)


def wire_deployments(
    stores: Stores, resolve: ResolveConfiguration, rollouts: RolloutParts, warm: Warm
) -> GrpcDeploymentService:
    """Return the API of deployments and their rollouts."""
    deployments, clock, enqueue = stores.deployments, SystemClock(), rollouts.controllers.enqueue
    prepare, count = rollouts.prepare, rollouts.count
    use_cases = DeploymentUseCases(
        deployments=deployments,
        create=CreateDeployment(deployments=deployments, resolve=resolve, clock=clock, warm=warm),
        update=UpdateDeployment(deployments=deployments, resolve=resolve, clock=clock, warm=warm),
        delete=DeleteDeployment(deployments=deployments, outcomes=rollouts.outcomes, clock=clock),
        count=count,
        promote=PromoteRollout(deployments=deployments, prepare=prepare, count=count, clock=clock, enqueue=enqueue),
        roll_back=RollBackRollout(deployments=deployments, count=count, clock=clock, warm=warm, enqueue=enqueue),
        approve=ApproveRollout(deployments=deployments, clock=clock, enqueue=enqueue),
    )
    return GrpcDeploymentService(use_cases)


def wire_sweeps(settings: InferenceSettings, backend: Backend, outcomes: ForgetOutcomes) -> Controller[SweepKey]:
    """Return the sweeps of records past their retention, and of outcomes that a process that died has left."""
    deployments, inferences = backend.database["deployments"], backend.database["inferences"]
    records = ForgetRecords(records=backend.indexed(MongoRecords(deployments, inferences)), clock=SystemClock())
    return sweep_controller(
        {"old_records": records, "ended_rollouts": outcomes},
        leases=backend.leases("leases"),
        poll_interval=timedelta(seconds=settings.sweep_poll_interval_s),
    )
