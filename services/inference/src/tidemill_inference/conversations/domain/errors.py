"""What can go wrong with conversations.

NotFound
├── ConversationNotFound
└── MemoryNotFound
PermissionDenied
└── ConversationOfAnother   another end user began it
Conflict
└── ConversationLeaseLost   another replica works on the conversation
"""

from tidemill_core.errors import Conflict, NotFound, PermissionDenied


class ConversationNotFound(NotFound):
    """No conversation with this id in the caller's project, or not the caller's."""

    reason = "CONVERSATION_NOT_FOUND"

    def __init__(self, conversation: str) -> None:
        super().__init__(f"there is no conversation {conversation} of yours in this project", conversation=conversation)


class MemoryNotFound(NotFound):
    """No memory with this id in the caller's project, or not the caller's."""

    reason = "MEMORY_NOT_FOUND"

    def __init__(self, memory: str) -> None:
        super().__init__(f"there is no memory {memory} of yours in this project", memory=memory)


class ConversationOfAnother(PermissionDenied):
    """A question names a conversation that another end user began."""

    reason = "CONVERSATION_OF_ANOTHER"

    def __init__(self, conversation: str) -> None:
        super().__init__(
            f"conversation: another end user began {conversation}: choose another id for this one",
            conversation=conversation,
        )


class ConversationLeaseLost(Conflict):
    """Another replica works on the conversation."""

    reason = "CONVERSATION_LEASE_LOST"

    def __init__(self, conversation: str) -> None:
        super().__init__(f"another replica works on conversation {conversation}", conversation=conversation)
