"""Conversations, and what is remembered of end users: shown, corrected and removed."""

from collections.abc import AsyncIterator

from tidemill.inference.v1 import conversation_service_pb2 as pb
from tidemill.inference.v1.conversation_pb2 import Conversation, Memory
from tidemill_client.connection import Connection
from tidemill_client.pages import each, filter_of


class Conversations:
    """Begun by a question that names one; without the right to act for users these are the caller's own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, conversation: str) -> Conversation:
        """Return a conversation with its turns; what was said is in the inference of each."""
        request = pb.GetConversationRequest(id=conversation)
        return (await self._connection.conversations.GetConversation(request)).conversation

    def all(self, *, end_user: str = "", deployment: str = "") -> AsyncIterator[Conversation]:
        """Yield conversations without their turns, oldest first."""
        asked = pb.ListConversationsRequest(filter=filter_of(end_user=end_user, deployment=deployment))
        return each(self._connection.conversations.ListConversations, asked, lambda page: page.conversations)

    async def delete(self, conversation: str) -> None:
        """Delete a conversation with its summary; its inferences stay."""
        await self._connection.conversations.DeleteConversation(pb.DeleteConversationRequest(id=conversation))


class Memories:
    """Facts that end users stated; without the right to act for users these are the caller's own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self, *, end_user: str = "") -> AsyncIterator[Memory]:
        """Yield memories, those of one end user together."""
        asked = pb.ListMemoriesRequest(filter=filter_of(end_user=end_user))
        return each(self._connection.conversations.ListMemories, asked, lambda page: page.memories)

    async def correct(self, memory: str, text: str) -> Memory:
        """Change what a memory says; answers see the new text from then on."""
        asked = pb.UpdateMemoryRequest(memory=Memory(id=memory, text=text))
        return (await self._connection.conversations.UpdateMemory(asked)).memory

    async def delete(self, memory: str) -> None:
        """Erase a memory."""
        await self._connection.conversations.DeleteMemory(pb.DeleteMemoryRequest(id=memory))
