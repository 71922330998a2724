"""Puts the conversations together."""

from dataclasses import dataclass

from tidemill_core.application import SystemClock
from tidemill_inference.conversations.crud import ConversationCrud, EraseConversations, MemoryCrud
from tidemill_inference.conversations.domain.errors import ConversationNotFound, MemoryNotFound
from tidemill_inference.conversations.grpc import GrpcConversationService
from tidemill_inference.conversations.join import JoinConversation
from tidemill_inference.conversations.mongo import CONVERSATIONS, MEMORIES, MongoEnded
from tidemill_inference.conversations.retention import RemoveOldConversations
from tidemill_inference.generation.ports import Inferences
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.service.backend import Backend

_CONVERSATIONS, _MEMORIES = "conversations", "memories"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationParts:
    """What conversations are made of."""

    join: JoinConversation
    servicer: GrpcConversationService
    erase: EraseConversations
    old: RemoveOldConversations


def wire_conversations(settings: InferenceSettings, backend: Backend, *, inferences: Inferences) -> ConversationParts:
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
    return ConversationParts(
        join=JoinConversation(
            conversations=conversations,
            memories=memories,
            inferences=inferences,
            clock=clock,
            max_turns=settings.conversation_max_turns,
        ),
        servicer=GrpcConversationService(
            ConversationCrud(conversations=conversations, inferences=inferences),
            MemoryCrud(memories=memories, clock=clock, max_characters=settings.memory_max_characters),
        ),
        erase=EraseConversations(conversations=conversations, memories=memories, ended=ended, clock=clock),
        old=RemoveOldConversations(memories=memories, ended=ended),
    )
