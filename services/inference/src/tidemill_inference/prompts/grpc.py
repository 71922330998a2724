"""PromptService: message -> use case -> message."""

from dataclasses import dataclass
from typing import Any

import grpc

from tidemill.inference.v1 import prompt_service_pb2 as pb
from tidemill.inference.v1 import prompt_service_pb2_grpc
from tidemill_inference.prompts.crud import (
    CreatePrompt,
    DeletePrompt,
    LabelPrompt,
    LabelToSet,
    PromptChange,
    PromptToCreate,
    UpdatePrompt,
)
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_inference.prompts.messages import prompt_message
from tidemill_inference.prompts.ports import Prompts
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, request_of
from tidemill_kit.mapping import from_message

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptUseCases:
    """What the service can do."""

    prompts: Prompts
    create: CreatePrompt
    update: UpdatePrompt
    label: LabelPrompt
    delete: DeletePrompt


class GrpcPromptService(prompt_service_pb2_grpc.PromptServiceServicer):
    """Serves prompts; errors are mapped by the kit's interceptor."""

    def __init__(self, use_cases: PromptUseCases) -> None:
        self._use = use_cases

    async def CreatePrompt(self, request: pb.CreatePromptRequest, _context: Context) -> pb.CreatePromptResponse:
        """Create a prompt."""
        command = PromptToCreate(
            id=request.prompt.id,
            content=from_message(PromptContent, request.prompt.content),
            labels=dict(request.prompt.labels),
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.CreatePromptResponse(prompt=prompt_message(await self._use.create(current_caller(), command)))

    async def GetPrompt(self, request: pb.GetPromptRequest, _context: Context) -> pb.GetPromptResponse:
        """Return one prompt."""
        prompt = await self._use.prompts.get(current_caller().project, request.id)
        return pb.GetPromptResponse(prompt=prompt_message(prompt))

    async def ListPrompts(self, request: pb.ListPromptsRequest, _context: Context) -> pb.ListPromptsResponse:
        """Return a page of prompts."""
        page = await self._use.prompts.list(current_caller().project, page=page_of(request, filters={}))
        return pb.ListPromptsResponse(
            prompts=[prompt_message(prompt) for prompt in page.items], next_page_token=page.next_token
        )

    async def UpdatePrompt(self, request: pb.UpdatePromptRequest, _context: Context) -> pb.UpdatePromptResponse:
        """Change content or labels."""
        paths = paths_of(request.update_mask, allowed=("content", "labels"))
        command = PromptChange(
            id=request.prompt.id,
            content=from_message(PromptContent, request.prompt.content) if "content" in paths else None,
            labels=dict(request.prompt.labels) if "labels" in paths else None,
            request=request_of(request),
            etag=request.prompt.etag,
            validate_only=request.validate_only,
        )
        return pb.UpdatePromptResponse(prompt=prompt_message(await self._use.update(current_caller(), command)))

    async def DeletePrompt(self, request: pb.DeletePromptRequest, _context: Context) -> pb.DeletePromptResponse:
        """Delete a prompt that no deployment uses."""
        prompt = await self._use.delete(
            current_caller(),
            request.id,
            request=request_of(request),
            etag=request.etag,
            validate_only=request.validate_only,
        )
        return pb.DeletePromptResponse(prompt=prompt_message(prompt))

    async def LabelPrompt(self, request: pb.LabelPromptRequest, _context: Context) -> pb.LabelPromptResponse:
        """Point a label to a version."""
        command = LabelToSet(
            id=request.id,
            label=request.label,
            version=request.version,
            request=request_of(request),
            validate_only=request.validate_only,
        )
        return pb.LabelPromptResponse(prompt=prompt_message(await self._use.label(current_caller(), command)))
