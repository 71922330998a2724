"""Puts the conversations together."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill_core.application import ResourceKey, SystemClock
from tidemill_inference.conversations.crud import ConversationCrud, EraseConversations, MemoryCrud
from tidemill_inference.conversations.domain.errors import ConversationNotFound, MemoryNotFound
from tidemill_inference.conversations.grpc import GrpcConversationService
from tidemill_inference.conversations.join import JoinConversation
from tidemill_inference.conversations.mongo import (
    CONVERSATIONS,
    MEMORIES,
    ConversationsWithWork,
    MongoEnded,
    MongoTurnStates,
)
from tidemill_inference.conversations.ports import AskingFor, Conversations, Memories
from tidemill_inference.conversations.reconcile import working
from tidemill_inference.conversations.remember import RememberFacts
from tidemill_inference.conversations.retention import RemoveOldConversations
from tidemill_inference.conversations.summarize import SummarizeTurns
from tidemill_inference.conversations.work import WorkOnConversation
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.generation.ports import Inferences
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.access.holds import Scope
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller

_CONVERSATIONS, _MEMORIES = "conversations", "memories"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationParts:
    """What conversations are made of."""

    join: JoinConversation
    servicer: GrpcConversationService
    erase: EraseConversations
    old: RemoveOldConversations
    controller: Controller[ResourceKey]


def wire_conversations(
    settings: InferenceSettings, backend: Backend, *, inferences: Inferences, deployments: Deployments, ask: AskingFor
) -> ConversationParts:
    """Return the conversations; what they say is in `inferences`."""
    clock = SystemClock()
    conversations = backend.aggregates(
        _CONVERSATIONS,
        CONVERSATIONS,
        missing=ConversationNotFound,
        lists=[("end_user",), ("deployment",), ("deployment", "end_user")],
    )
    memories = backend.aggregates(_MEMORIES, MEMORIES, missing=MemoryNotFound)
    ended = backend.indexed(MongoEnded(backend.database[_CONVERSATIONS], backend.database[_MEMORIES]))
    controller = _controller(
        settings,
        backend,
        conversations=conversations,
        memories=memories,
        inferences=inferences,
        deployments=deployments,
        ask=ask,
    )
    return ConversationParts(
        join=JoinConversation(
            conversations=conversations,
            memories=memories,
            inferences=inferences,
            clock=clock,
            max_turns=settings.conversation_max_turns,
            enqueue=controller.enqueue,
        ),
        servicer=GrpcConversationService(
            ConversationCrud(conversations=conversations, states=MongoTurnStates(backend.database["inferences"])),
            MemoryCrud(memories=memories, clock=clock, max_characters=settings.memory_max_characters),
        ),
        erase=EraseConversations(conversations=conversations, memories=memories, ended=ended, clock=clock),
        old=RemoveOldConversations(memories=memories, ended=ended),
        controller=controller,
    )


def _controller(  # noqa: PLR0913 - each of another kind
    settings: InferenceSettings,
    backend: Backend,
    *,
    conversations: Conversations,
    memories: Memories,
    inferences: Inferences,
    deployments: Deployments,
    ask: AskingFor,
) -> Controller[ResourceKey]:
    async def erased(project: str, documents: Collection[str]) -> Mapping[str, datetime]:
        return await backend.erased(project, Scope.DOCUMENT, documents)

    clock, timeout_s = SystemClock(), settings.conversation_model_timeout_s
    work = WorkOnConversation(
        conversations=conversations,
        inferences=inferences,
        deployments=deployments,
        summarize=SummarizeTurns(conversations=conversations, ask=ask, erased=erased, clock=clock, timeout_s=timeout_s),
        remember=RememberFacts(
            conversations=conversations,
            memories=memories,
            ask=ask,
            erased=erased,
            clock=clock,
            timeout_s=timeout_s,
            max_facts=settings.memory_max_facts,
            max_characters=settings.memory_max_characters,
        ),
        clock=clock,
        max_wait=timedelta(seconds=settings.conversation_max_wait_s),
    )
    return working(
        work,
        backend.indexed(ConversationsWithWork(backend.database[_CONVERSATIONS], clock)),
        leases=backend.leases("conversation_leases"),
        max_concurrent=settings.conversation_max_concurrent,
        poll_interval=timedelta(seconds=settings.conversation_poll_interval_s),
    )
