"""ConversationService: message -> use case -> message."""

from tidemill.inference.v1 import conversation_service_pb2 as pb
from tidemill.inference.v1 import conversation_service_pb2_grpc
from tidemill_core.errors import InvalidInput
from tidemill_inference.conversations.crud import ConversationCrud, MemoryCrud
from tidemill_inference.conversations.messages import conversation_message, memory_message, shown_message
from tidemill_kit.grpc.server import current_caller, page_of, write_of


class GrpcConversationService(conversation_service_pb2_grpc.ConversationServiceServicer):
    """Serves conversations; errors are mapped by the kit's interceptor."""

    def __init__(self, conversations: ConversationCrud, memories: MemoryCrud) -> None:
        self._conversations = conversations
        self._memories = memories

    async def GetConversation(self, request: pb.GetConversationRequest, _context: object) -> pb.GetConversationResponse:
        """Return one conversation with its turns."""
        shown = await self._conversations.get(current_caller(), request.id)
        return pb.GetConversationResponse(conversation=shown_message(shown))

    async def ListConversations(
        self, request: pb.ListConversationsRequest, _context: object
    ) -> pb.ListConversationsResponse:
        """Return a page of conversations."""
        asked = page_of(request, filters={"deployment": "deployment", "end_user": "end_user"})
        page = await self._conversations.list(current_caller(), page=asked)
        return pb.ListConversationsResponse(
            conversations=[conversation_message(each) for each in page.items], next_page_token=page.next_token
        )

    async def DeleteConversation(
        self, request: pb.DeleteConversationRequest, _context: object
    ) -> pb.DeleteConversationResponse:
        """Delete a conversation."""
        await self._conversations.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteConversationResponse(id=request.id)

    async def ListMemories(self, request: pb.ListMemoriesRequest, _context: object) -> pb.ListMemoriesResponse:
        """Return memories, a page of end users at a time."""
        page = await self._memories.list(current_caller(), page=page_of(request, filters={"end_user": "end_user"}))
        return pb.ListMemoriesResponse(
            memories=[memory_message(each) for each in page.items], next_page_token=page.next_token
        )

    async def UpdateMemory(self, request: pb.UpdateMemoryRequest, _context: object) -> pb.UpdateMemoryResponse:
        """Correct a memory."""
        if others := set(request.update_mask.paths) - {"text", "*"}:
            text = f"names {', '.join(sorted(others))}; only text changes"
            raise InvalidInput.at(field="update_mask", text=text)
        memory = request.memory
        write = write_of(request, etag=memory.etag)
        return pb.UpdateMemoryResponse(
            memory=memory_message(await self._memories.correct(current_caller(), memory.id, memory.text, write))
        )

    async def DeleteMemory(self, request: pb.DeleteMemoryRequest, _context: object) -> pb.DeleteMemoryResponse:
        """Erase a memory."""
        await self._memories.delete(current_caller(), request.id, write_of(request))
        return pb.DeleteMemoryResponse(id=request.id)
