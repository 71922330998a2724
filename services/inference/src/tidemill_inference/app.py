"""The composition root: the only module that sees adapters and entry points."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from tidemill.inference.v1.conversation_service_pb2_grpc import add_ConversationServiceServicer_to_server
from tidemill.inference.v1.deployment_service_pb2_grpc import add_DeploymentServiceServicer_to_server
from tidemill.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from tidemill.inference.v1.prompt_service_pb2_grpc import add_PromptServiceServicer_to_server
from tidemill.inference.v1.secret_service_pb2_grpc import add_SecretServiceServicer_to_server
from tidemill_core.application import SystemClock
from tidemill_inference.answering import Answering, wire_answering
from tidemill_inference.apis import Apis, wire_apis
from tidemill_inference.deployments.crud import DeploymentCrud
from tidemill_inference.deployments.grpc import GrpcDeploymentService
from tidemill_inference.deployments.resolve_configuration import ResolveConfiguration
from tidemill_inference.erasure import InMemory, steps, wire_erasure
from tidemill_inference.files.wiring import wire_files
from tidemill_inference.generation.wiring import wire_sweeps
from tidemill_inference.prompts.crud import PromptCrud
from tidemill_inference.prompts.grpc import GrpcPromptService
from tidemill_inference.rollouts.commands import RolloutCommands
from tidemill_inference.settings import InferenceSettings
from tidemill_inference.stores import Stores, wire_stores
from tidemill_kit.service.app import App, Worker
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.sweeps import SweepKey


async def build_app(settings: InferenceSettings, *, environment: Mapping[str, str]) -> App:
    """Put inference together, on the event loop that it will live on. Nothing is connected yet.

    `environment` holds the secrets INFERENCE_SECRET_<PROJECT>__<NAME>.
    """
    backend = Backend(settings, serves_without_objects=True)
    backend.on_start(lambda: asyncio.to_thread(settings.data_dir.mkdir, parents=True, exist_ok=True))
    stores = wire_stores(settings, backend)
    trainer = backend.channel("trainer", settings.trainer_address, timeout_s=settings.call_timeout_s)
    rag = backend.channel("rag", settings.rag_address, timeout_s=settings.call_timeout_s)
    files = wire_files(settings, backend)
    answering = wire_answering(
        settings,
        backend,
        stores=stores,
        environment=environment,
        trainer=trainer,
        rag=rag,
        files=files.erase_lines,
    )
    engines, generation, conversations = answering.engines, answering.generation, answering.conversations
    rollouts, budgets, secrets, caching = answering.rollouts, answering.budgets, answering.secrets, answering.caching
    memory: list[InMemory] = [*answering.memory, stores.prompts, stores.deployments]
    apis = wire_apis(
        settings, backend, stores=stores, models=engines.models, generation=generation, rag=rag, files=files
    )
    return backend.app(
        servicers=[
            (add_PromptServiceServicer_to_server, _prompt_service(stores, answering)),
            (add_DeploymentServiceServicer_to_server, _deployment_service(settings, stores, answering)),
            (add_InferenceServiceServicer_to_server, generation.servicer),
            (add_SecretServiceServicer_to_server, secrets.servicer),
            (add_ConversationServiceServicer_to_server, conversations.servicer),
            *apis.servicers,
            *budgets.servicers,
        ],
        consumers=rollouts.consumers,
        components=[answering.templates, engines.pool, Worker("warm-up", engines.warm_up.run), generation],
        workers=[
            *answering.controllers,
            _sweeps(settings, backend, answering, apis),
            *apis.controllers,
            budgets.sweeps,
            Worker("cache-savings", caching.savings.run),
            Worker("follow-ups", lambda: rollouts.follow_ups.run(generation.shadow)),
            *wire_erasure(settings, backend, engines, memory=memory),
        ],
        servers=[apis.server],
        erasures=steps(
            settings,
            backend,
            memory=memory,
            erase_end_user=generation.erase_end_user,
            conversations=conversations.erase,
            features=[*apis.erasing, budgets, rollouts, answering.examples],
            of_documents=answering.examples.of_documents,
        ),
    )


def _sweeps(settings: InferenceSettings, backend: Backend, answering: Answering, apis: Apis) -> Controller[SweepKey]:
    sweeps: dict[str, Callable[[], Awaitable[int]]] = {
        "ended_rollouts": answering.rollouts.forget,
        "expired_answers": answering.caching.expired,
        "old_savings": answering.caching.old_savings,
        **apis.sweeps,
    }
    return wire_sweeps(settings, backend, sweeps=sweeps, others=[answering.conversations.old])


def _prompt_service(stores: Stores, answering: Answering) -> GrpcPromptService:
    crud = PromptCrud(
        prompts=stores.prompts, templates=answering.templates, deployments=stores.deployments, clock=SystemClock()
    )
    return GrpcPromptService(answering.prompts, crud)


def _deployment_service(settings: InferenceSettings, stores: Stores, answering: Answering) -> GrpcDeploymentService:
    """Return the API of deployments and their rollouts."""
    deployments, rollouts, clock = stores.deployments, answering.rollouts, SystemClock()
    warm = answering.engines.warm_up.preload
    resolve = ResolveConfiguration(
        prompts=answering.prompts,
        models=answering.engines.models,
        retriever=answering.generation.answer.make.retriever,
        candidates=rollouts.prepare.candidates,
        questions=answering.caching.questions,
        examples=answering.examples.resolve,
    )
    crud = DeploymentCrud(
        deployments=deployments,
        resolve=resolve,
        outcomes=rollouts.outcomes,
        metrics=rollouts.metrics,
        clock=clock,
        warm=warm,
        limits=settings.sampling_limits,
        examples=answering.examples.choose,
    )
    commands = RolloutCommands(
        deployments=deployments,
        prepare=rollouts.prepare,
        count=rollouts.count,
        clock=clock,
        warm=warm,
        enqueue=rollouts.controllers.enqueue,
    )
    return GrpcDeploymentService(
        deployments, crud, count=rollouts.count, rollouts=commands, savings=answering.caching.read_savings
    )
