"""The composition root: the only module that sees adapters and entry points."""

import asyncio
from collections.abc import Mapping

from tidemill.inference.v1.conversation_service_pb2_grpc import add_ConversationServiceServicer_to_server
from tidemill.inference.v1.deployment_service_pb2_grpc import add_DeploymentServiceServicer_to_server
from tidemill.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from tidemill.inference.v1.prompt_service_pb2_grpc import add_PromptServiceServicer_to_server
from tidemill.inference.v1.secret_service_pb2_grpc import add_SecretServiceServicer_to_server
from tidemill_core.application import SystemClock
from tidemill_inference.apis import wire_apis
from tidemill_inference.budgets.wiring import wire_budgets
from tidemill_inference.caching.wiring import wire_caching
from tidemill_inference.conversations.wiring import wire_conversations
from tidemill_inference.deployments.crud import DeploymentCrud
from tidemill_inference.deployments.grpc import GrpcDeploymentService
from tidemill_inference.deployments.mongo import MongoLiveModels
from tidemill_inference.deployments.resolve_configuration import ResolveConfiguration
from tidemill_inference.engines import chat_prompts
from tidemill_inference.engines.ports import Warm
from tidemill_inference.engines.wiring import wire_engines
from tidemill_inference.erasure import InMemory, steps, wire_erasure
from tidemill_inference.generation.rag import RagRetriever
from tidemill_inference.generation.wiring import wire_generation, wire_sweeps
from tidemill_inference.prompts import bounded_templates
from tidemill_inference.prompts.bounded_templates import BoundedTemplates
from tidemill_inference.prompts.crud import PromptCrud
from tidemill_inference.prompts.grpc import GrpcPromptService
from tidemill_inference.prompts.shared import SharedPrompts
from tidemill_inference.rollouts.commands import RolloutCommands
from tidemill_inference.rollouts.wiring import RolloutParts, wire_rollouts
from tidemill_inference.routing.wiring import wire_routing
from tidemill_inference.secrets.wiring import wire_secrets
from tidemill_inference.settings import InferenceSettings
from tidemill_inference.stores import Stores, wire_stores
from tidemill_kit.service.app import App, Worker
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.bounded_processes import BoundedProcesses


async def build_app(settings: InferenceSettings, *, environment: Mapping[str, str]) -> App:
    """Put inference together, on the event loop that it will live on. Nothing is connected yet.

    `environment` holds the secrets INFERENCE_SECRET_<PROJECT>__<NAME>.
    """
    backend = Backend(settings, serves_without_objects=True)
    backend.on_start(lambda: asyncio.to_thread(settings.data_dir.mkdir, parents=True, exist_ok=True))
    stores = wire_stores(settings, backend)
    timeout_s = settings.call_timeout_s
    trainer = backend.channel("trainer", settings.trainer_address, timeout_s=timeout_s)
    rag = backend.channel("rag", settings.rag_address, timeout_s=timeout_s)
    retriever = RagRetriever(rag, timeout_s=timeout_s)
    processes = BoundedProcesses(settings.prompt_limits, "prompts", (*chat_prompts.IMPORTS, *bounded_templates.IMPORTS))
    templates, live = BoundedTemplates(processes), MongoLiveModels(backend.database["deployments"])
    secrets = wire_secrets(settings, backend, environment)
    engines = wire_engines(settings, backend, trainer=trainer, live=live, chat_processes=processes, keys=secrets.keys)
    pool, models, warm_up = engines.pool, engines.models, engines.warm_up
    rollouts = wire_rollouts(
        settings, backend, deployments=stores.deployments, models=models, engines=pool, trainer=trainer
    )
    routing = wire_routing(settings, models, pool)
    budgets = wire_budgets(settings, backend, stores.inferences)
    prompts = SharedPrompts(stores.prompts, backend.access.grants)
    conversations = wire_conversations(
        settings, backend, inferences=stores.inferences, deployments=stores.deployments, ask=routing.ask
    )
    caching = wire_caching(settings, backend, inferences=stores.inferences)
    generation = wire_generation(
        settings,
        backend,
        deployments=stores.deployments.reads,
        recent_prompts=SharedPrompts(stores.prompts.reads, backend.access.grants),
        prompts=prompts,
        inferences=stores.inferences,
        templates=templates,
        models=models,
        engines=pool,
        router=routing.router,
        retriever=retriever,
        spending=budgets.spending,
        observe=rollouts.follow_ups.observe,
        ask=routing.ask,
        conversing=conversations.join,
        reusing=caching.reuse,
        others=conversations.erase,
    )
    prompt_crud = PromptCrud(
        prompts=stores.prompts, templates=templates, deployments=stores.deployments, clock=SystemClock()
    )
    candidates = rollouts.prepare.candidates
    resolve = ResolveConfiguration(prompts=prompts, models=models, retriever=retriever, candidates=candidates)
    memory: list[InMemory] = [generation, rollouts.follow_ups, pool, models, routing.endpoints]
    memory += [stores.prompts, stores.deployments, caching.reuse]
    deployments = wire_deployments(stores, resolve, rollouts, warm_up.preload)
    apis = wire_apis(settings, backend, stores=stores, models=models, generation=generation, rag=rag)
    return backend.app(
        servicers=[
            (add_PromptServiceServicer_to_server, GrpcPromptService(prompts, prompt_crud)),
            (add_DeploymentServiceServicer_to_server, deployments),
            (add_InferenceServiceServicer_to_server, generation.servicer),
            (add_SecretServiceServicer_to_server, secrets.servicer),
            (add_ConversationServiceServicer_to_server, conversations.servicer),
            *apis.servicers,
            *budgets.servicers,
        ],
        consumers=rollouts.consumers,
        components=[templates, pool, Worker("warm-up", warm_up.run), generation],
        workers=[
            rollouts.controllers.advancing,
            rollouts.controllers.holding,
            *secrets.controllers,
            conversations.controller,
            wire_sweeps(
                settings,
                backend,
                sweeps={"ended_rollouts": rollouts.forget, "expired_answers": caching.expired, **apis.sweeps},
                others=[conversations.old],
            ),
            *apis.controllers,
            budgets.sweeps,
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
            features=[*apis.erasing, budgets],
        ),
    )


def wire_deployments(
    stores: Stores, resolve: ResolveConfiguration, rollouts: RolloutParts, warm: Warm
) -> GrpcDeploymentService:
    """Return the API of deployments and their rollouts."""
    deployments, clock = stores.deployments, SystemClock()
    crud = DeploymentCrud(deployments=deployments, resolve=resolve, outcomes=rollouts.outcomes, clock=clock, warm=warm)
    commands = RolloutCommands(
        deployments=deployments,
        prepare=rollouts.prepare,
        count=rollouts.count,
        clock=clock,
        warm=warm,
        enqueue=rollouts.controllers.enqueue,
    )
    return GrpcDeploymentService(deployments, crud, count=rollouts.count, rollouts=commands)
