"""Puts together what answers: engines and routing, rollouts, budgets, conversations, the cache, and generation."""

from collections.abc import Mapping
from dataclasses import dataclass

import grpc

from tidemill_core.application import ResourceKey
from tidemill_inference.batches.mongo import ResultsOfEndUsers
from tidemill_inference.budgets.wiring import BudgetParts, wire_budgets
from tidemill_inference.caching.wiring import CachingParts, wire_caching
from tidemill_inference.conversations.wiring import ConversationParts, wire_conversations
from tidemill_inference.conversations.within_budgets import AskWithinBudgets
from tidemill_inference.deployments.mongo import MongoLiveModels
from tidemill_inference.engines import chat_prompts
from tidemill_inference.engines.wiring import EngineParts, wire_engines
from tidemill_inference.erasure import InMemory
from tidemill_inference.examples.wiring import ExampleParts, wire_examples
from tidemill_inference.experiments.records import RecordedRuns
from tidemill_inference.generation import asked_schemas
from tidemill_inference.generation.asked_schemas import AskedSchemas
from tidemill_inference.generation.ports import EndUserFiles
from tidemill_inference.generation.rag import RagRetriever
from tidemill_inference.generation.wiring import GenerationParts, wire_generation
from tidemill_inference.prompts import bounded_templates
from tidemill_inference.prompts.bounded_templates import BoundedTemplates
from tidemill_inference.prompts.shared import SharedPrompts
from tidemill_inference.providers.notice_changes import NoticeProviderChanges
from tidemill_inference.providers.wiring import wire_providers
from tidemill_inference.rollouts.wiring import RolloutParts, wire_rollouts
from tidemill_inference.routing.wiring import RoutingParts, wire_routing
from tidemill_inference.secrets.wiring import SecretParts, wire_secrets
from tidemill_inference.settings import InferenceSettings
from tidemill_inference.stores import Stores
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.bounded_processes import BoundedProcesses
from tidemill_kit.workers.controller import Controller

_PROMPT_IMPORTS = (*chat_prompts.IMPORTS, *bounded_templates.IMPORTS, *asked_schemas.IMPORTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """The features that an answer takes, and generation, which asks them."""

    prompts: SharedPrompts
    templates: BoundedTemplates
    secrets: SecretParts
    providers: NoticeProviderChanges
    engines: EngineParts
    rollouts: RolloutParts
    routing: RoutingParts
    budgets: BudgetParts
    conversations: ConversationParts
    caching: CachingParts
    examples: ExampleParts
    generation: GenerationParts

    @property
    def controllers(self) -> list[Controller[ResourceKey]]:
        """What works in the background."""
        rollouts = self.rollouts.controllers
        mine = [self.conversations.controller, self.examples.controller]
        return [rollouts.advancing, rollouts.holding, *self.secrets.controllers, *mine]

    @property
    def memory(self) -> list[InMemory]:
        """What this process has in memory of projects; answers in progress end first."""
        engines = self.engines
        return [
            self.generation,
            self.rollouts.follow_ups,
            engines.pool,
            engines.models,
            self.providers,
            self.routing.endpoints,
            self.caching.reuse,
            self.caching.savings,
            self.budgets.rules,
        ]


def wire_answering(  # noqa: PLR0913 - keyword-only, and each of another kind
    settings: InferenceSettings,
    backend: Backend,
    *,
    stores: Stores,
    environment: Mapping[str, str],
    trainer: grpc.aio.Channel,
    rag: grpc.aio.Channel,
    files: EndUserFiles,
) -> Answering:
    """Return what answers; `environment` holds secrets of the operator."""
    inferences, deployments, grants = stores.inferences, stores.deployments, backend.access.grants
    processes = BoundedProcesses(settings.prompt_limits, "prompts", _PROMPT_IMPORTS)
    templates = BoundedTemplates(processes)
    secrets, providers = wire_secrets(settings, backend, environment), wire_providers(settings, backend)
    engines = _engines(settings, backend, secrets, providers, trainer=trainer, processes=processes)
    models, pool, prompts = engines.models, engines.pool, SharedPrompts(stores.prompts, grants)
    rollouts = _rollouts(settings, backend, stores, engines, prompts, trainer=trainer, rag=rag)
    routing, budgets = wire_routing(settings, models, pool), wire_budgets(settings, backend, inferences)
    ask = AskWithinBudgets(ask=routing.ask, spending=budgets.spending)
    conversations = wire_conversations(settings, backend, inferences=inferences, deployments=deployments, ask=ask)
    caching = wire_caching(settings, backend, inferences=inferences, rag=rag)
    examples = wire_examples(settings, backend, models=models, rag=rag)
    generation = wire_generation(
        settings,
        backend,
        deployments=deployments.reads,
        recent_prompts=SharedPrompts(stores.prompts.reads, grants),
        prompts=prompts,
        inferences=inferences,
        templates=templates,
        schemas=AskedSchemas(processes, limits=settings.question_limits),
        models=models,
        engines=pool,
        router=routing.router,
        retriever=RagRetriever(rag, timeout_s=settings.call_timeout_s),
        spending=budgets.spending,
        observe=rollouts.follow_ups.observe,
        ask=routing.ask,
        conversing=conversations.join,
        reusing=caching.reuse,
        choosing=examples.choose,
        others=[conversations.erase, ResultsOfEndUsers(backend.database["batch_results"]), rollouts.outcomes],
        files=files,
    )
    return Answering(
        prompts=prompts,
        templates=templates,
        secrets=secrets,
        providers=providers,
        engines=engines,
        rollouts=rollouts,
        routing=routing,
        budgets=budgets,
        conversations=conversations,
        caching=caching,
        examples=examples,
        generation=generation,
    )


def _engines(  # noqa: PLR0913 - of each kind one
    settings: InferenceSettings,
    backend: Backend,
    secrets: SecretParts,
    providers: NoticeProviderChanges,
    *,
    trainer: grpc.aio.Channel,
    processes: BoundedProcesses,
) -> EngineParts:
    return wire_engines(
        settings,
        backend,
        trainer=trainer,
        live=MongoLiveModels(backend.database["deployments"]),
        chat_processes=processes,
        keys=secrets.keys,
        identified=providers,
    )


def _rollouts(  # noqa: PLR0913 - of each kind one
    settings: InferenceSettings,
    backend: Backend,
    stores: Stores,
    engines: EngineParts,
    prompts: SharedPrompts,
    *,
    trainer: grpc.aio.Channel,
    rag: grpc.aio.Channel,
) -> RolloutParts:
    return wire_rollouts(
        settings,
        backend,
        prompts,
        deployments=stores.deployments,
        models=engines.models,
        engines=engines.pool,
        trainer=trainer,
        rag=rag,
        answered_in=RecordedRuns(inferences=stores.inferences),
    )
