"""Conversations and memories as messages of the contract."""

from tidemill.inference.v1 import conversation_pb2, inference_pb2
from tidemill_core.resources import etag_of
from tidemill_inference.conversations.crud import OwnedFact, ShownConversation
from tidemill_inference.conversations.domain.conversation import Conversation
from tidemill_kit.mapping import to_message


def conversation_message(conversation: Conversation) -> conversation_pb2.Conversation:
    """Return a conversation as a list shows it."""
    summary = conversation.summary
    return to_message(
        conversation_pb2.Conversation,
        conversation,
        turns=None,
        summary=to_message(conversation_pb2.ConversationSummary, summary) if summary else None,
    )


def shown_message(shown: ShownConversation) -> conversation_pb2.Conversation:
    """Return the whole resource, with the turns that have an answer, or will have one."""
    message = conversation_message(shown.conversation)
    message.turns.extend(
        to_message(
            conversation_pb2.Turn,
            turn,
            create_time=turn.begin_time,
            state=inference_pb2.InferenceState.Value(f"INFERENCE_STATE_{shown.states[turn.inference].name}"),
        )
        for turn in shown.conversation.turns
        if turn.inference in shown.states
    )
    return message


def memory_message(owned: OwnedFact) -> conversation_pb2.Memory:
    """Return one memory."""
    fact, memory = owned.fact, owned.memory
    return to_message(
        conversation_pb2.Memory,
        fact,
        project=memory.project,
        end_user=memory.end_user,
        etag=etag_of(fact.revision + 1),
    )
