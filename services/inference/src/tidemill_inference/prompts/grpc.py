"""PromptService: message -> use case -> message."""

from tidemill.inference.v1 import prompt_pb2, prompt_service_pb2_grpc
from tidemill.inference.v1 import prompt_service_pb2 as pb
from tidemill_core.errors import InvalidInput
from tidemill_inference.prompts.branches import PromptBranches
from tidemill_inference.prompts.crud import PromptCrud
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent
from tidemill_inference.prompts.messages import approval_of_message, prompt_message, protection_of_message
from tidemill_inference.prompts.ports import ReadPrompts
from tidemill_kit.grpc.server import current_caller, page_of, paths_of, write_of
from tidemill_kit.mapping import from_message


class GrpcPromptService(prompt_service_pb2_grpc.PromptServiceServicer):
    """Serves prompts; errors are mapped by the kit's interceptor."""

    def __init__(self, prompts: ReadPrompts, crud: PromptCrud, *, branches: PromptBranches) -> None:
        self._prompts = prompts
        self._crud = crud
        self._branches = branches

    async def CreatePrompt(self, request: pb.CreatePromptRequest, _context: object) -> pb.CreatePromptResponse:
        """Create a prompt, or a branch of one."""
        if request.prompt.HasField("forked_from"):
            return pb.CreatePromptResponse(prompt=_message(await self._fork(request)))
        content = from_message(PromptContent, request.prompt.content)
        prompt = await self._crud.create(
            current_caller(),
            request.prompt.id,
            content,
            labels=request.prompt.labels,
            approval=approval_of_message(request.prompt.approval),
            label_protection=protection_of_message(request.prompt.label_protection),
            write=write_of(request),
        )
        return pb.CreatePromptResponse(prompt=_message(prompt))

    async def _fork(self, request: pb.CreatePromptRequest) -> Prompt:
        asked = request.prompt
        if asked.HasField("content"):
            text = "is that of the version which is forked: leave it out, and change it with an update"
            raise InvalidInput.at(field="prompt.content", text=text)
        return await self._branches.fork(
            current_caller(),
            asked.id,
            source=asked.forked_from.prompt,
            version=asked.forked_from.version,
            labels=asked.labels,
            approval=approval_of_message(asked.approval),
            label_protection=protection_of_message(asked.label_protection),
            write=write_of(request),
        )

    async def GetPrompt(self, request: pb.GetPromptRequest, _context: object) -> pb.GetPromptResponse:
        """Return one prompt."""
        prompt = await self._prompts.get(current_caller().project, request.id)
        return pb.GetPromptResponse(prompt=_message(prompt))

    async def ListPrompts(self, request: pb.ListPromptsRequest, _context: object) -> pb.ListPromptsResponse:
        """Return a page of prompts."""
        page = await self._prompts.list(current_caller().project, page=page_of(request, filters={}))
        return pb.ListPromptsResponse(
            prompts=[_message(prompt) for prompt in page.items],
            next_page_token=page.next_token,
        )

    async def UpdatePrompt(self, request: pb.UpdatePromptRequest, _context: object) -> pb.UpdatePromptResponse:
        """Change content, labels or approval policy."""
        paths = paths_of(request.update_mask, allowed=("content", "labels", "approval", "label_protection"))
        prompt = await self._crud.update(
            current_caller(),
            request.prompt.id,
            content=from_message(PromptContent, request.prompt.content) if "content" in paths else None,
            labels=request.prompt.labels if "labels" in paths else None,
            approval=approval_of_message(request.prompt.approval) if "approval" in paths else None,
            label_protection=protection_of_message(request.prompt.label_protection)
            if "label_protection" in paths
            else None,
            write=write_of(request, etag=request.prompt.etag),
        )
        return pb.UpdatePromptResponse(prompt=_message(prompt))

    async def DeletePrompt(self, request: pb.DeletePromptRequest, _context: object) -> pb.DeletePromptResponse:
        """Delete a prompt that no deployment uses."""
        prompt = await self._crud.delete(current_caller(), request.id, write_of(request))
        return pb.DeletePromptResponse(prompt=_message(prompt))

    async def LabelPrompt(self, request: pb.LabelPromptRequest, _context: object) -> pb.LabelPromptResponse:
        """Point a label to a version."""
        prompt = await self._crud.label(
            current_caller(), request.id, request.label, version=request.version, write=write_of(request)
        )
        return pb.LabelPromptResponse(prompt=_message(prompt))

    async def MergePrompt(self, request: pb.MergePromptRequest, _context: object) -> pb.MergePromptResponse:
        """Merge a version of another prompt into this one."""
        prompt = await self._branches.merge(
            current_caller(),
            request.id,
            source=request.source,
            version=request.source_version,
            resolutions=dict(request.resolutions),
            write=write_of(request),
        )
        return pb.MergePromptResponse(prompt=_message(prompt))

    async def ApprovePromptVersion(
        self, request: pb.ApprovePromptVersionRequest, _context: object
    ) -> pb.ApprovePromptVersionResponse:
        """Approve a version."""
        prompt = await self._crud.approve(
            current_caller(),
            request.id,
            version=request.version,
            rationale=request.rationale,
            write=write_of(request),
        )
        return pb.ApprovePromptVersionResponse(prompt=_message(prompt))


def _message(prompt: Prompt) -> prompt_pb2.Prompt:
    return prompt_message(prompt, asking=current_caller().project)
