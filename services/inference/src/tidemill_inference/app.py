"""The composition root: the only module that sees adapters and entry points."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from tidemill.inference.v1.conversation_service_pb2_grpc import add_ConversationServiceServicer_to_server
from tidemill.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from tidemill.inference.v1.secret_service_pb2_grpc import add_SecretServiceServicer_to_server
from tidemill_inference.answering import Answering, wire_answering
from tidemill_inference.apis import Apis, wire_apis
from tidemill_inference.declared import wire_declared
from tidemill_inference.erasure import InMemory, steps, wire_erasure
from tidemill_inference.experiments.wiring import ExperimentParts
from tidemill_inference.files.wiring import wire_files
from tidemill_inference.generation.wiring import wire_sweeps
from tidemill_inference.settings import InferenceSettings
from tidemill_inference.stores import wire_stores
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
    declared = wire_declared(settings, backend, stores=stores, answering=answering)
    apis = wire_apis(
        settings, backend, stores=stores, models=engines.models, generation=generation, rag=rag, files=files
    )
    return backend.app(
        servicers=[
            *declared.servicers,
            (add_InferenceServiceServicer_to_server, generation.servicer),
            (add_SecretServiceServicer_to_server, secrets.servicer),
            (add_ConversationServiceServicer_to_server, conversations.servicer),
            *apis.servicers,
        ],
        consumers=rollouts.consumers,
        components=[answering.templates, engines.pool, Worker("warm-up", engines.warm_up.run), generation],
        workers=[
            *answering.controllers,
            declared.experiments.controller,
            _sweeps(settings, backend, answering, apis, declared.experiments),
            *apis.controllers,
            budgets.sweeps,
            Worker("cache-savings", caching.savings.run),
            Worker("provider-changes", answering.providers.run),
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
            features=[*apis.erasing, budgets, rollouts, answering.examples, declared.experiments],
            of_documents=answering.examples.of_documents,
        ),
    )


def _sweeps(
    settings: InferenceSettings, backend: Backend, answering: Answering, apis: Apis, experiments: ExperimentParts
) -> Controller[SweepKey]:
    sweeps: dict[str, Callable[[], Awaitable[int]]] = {
        "ended_rollouts": replace(answering.rollouts.forget, running=experiments.running.runs),
        "expired_answers": answering.caching.expired,
        "old_savings": answering.caching.old_savings,
        **apis.sweeps,
    }
    return wire_sweeps(settings, backend, sweeps=sweeps, others=[answering.conversations.old])
