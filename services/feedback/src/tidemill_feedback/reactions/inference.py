"""Reads answers and their prompts from inference."""

from collections.abc import Iterable

import grpc
from google.protobuf.json_format import MessageToDict

from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import inference_pb2
from tidemill.inference.v1.inference_service_pb2 import (
    EraseEndUserRequest,
    GetInferencePromptRequest,
    GetInferenceRequest,
)
from tidemill.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from tidemill_core.errors import NotFound
from tidemill_core.grpc.context import acting_for
from tidemill_feedback.curations.domain.example import PassageUse, Prompt, Turn
from tidemill_feedback.errors import InferenceUnknown
from tidemill_feedback.reactions.domain.feedback import Answer

_LIVE = {inference_pb2.PURPOSE_UNSPECIFIED, inference_pb2.PURPOSE_LIVE}
_ROLES = {
    content_pb2.ROLE_SYSTEM: "system",
    content_pb2.ROLE_USER: "user",
    content_pb2.ROLE_ASSISTANT: "assistant",
    content_pb2.ROLE_TOOL: "tool",
}


class InferenceAnswers:
    """Implements `ports.Inferences`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._inference = InferenceServiceStub(channel)

    async def answer(self, project: str, inference: str) -> Answer:
        """See `Inferences.answer`."""
        found = await self._get(project, inference)
        return Answer(
            inference=found.id,
            deployment=found.deployment,
            end_user=found.end_user,
            variant=found.variant.name,
            rollout=found.variant.rollout,
            live=found.purpose in _LIVE,
            completed=found.state == inference_pb2.INFERENCE_STATE_COMPLETED,
            output=" ".join(_text(message.parts) for message in found.output),
        )

    async def erase(self, project: str, end_user: str, *, validate_only: bool) -> int:
        """See `Inferences.erase`."""
        erased, token = 0, ""
        while True:
            request = EraseEndUserRequest(end_user=end_user, validate_only=validate_only, page_token=token)
            with acting_for(project):
                reply = await self._inference.EraseEndUser(request)
            erased, token = erased + reply.erased, reply.next_page_token
            if not reply.more:
                return erased

    async def prompt(self, project: str, inference: str) -> Prompt:
        """See `Inferences.prompt`."""
        found = await self._get(project, inference)
        with acting_for(project):
            prompt = await self._inference.GetInferencePrompt(GetInferencePromptRequest(id=inference))
        return Prompt(
            question=prompt.question,
            messages=_turns(prompt.messages),
            earlier=_turns(prompt.earlier),
            variables=MessageToDict(prompt.variables),
            principals=tuple(prompt.principals),
            passages=tuple(
                PassageUse(
                    id=passage.id,
                    document=passage.document,
                    version=passage.version,
                    start=passage.start,
                    end=passage.end,
                    source=passage.source,
                    key=passage.key,
                )
                for passage in found.passages
            ),
        )

    async def _get(self, project: str, inference: str) -> inference_pb2.Inference:
        with acting_for(project):
            try:
                reply = await self._inference.GetInference(GetInferenceRequest(id=inference))
            except NotFound as error:
                raise InferenceUnknown(inference) from error
        found: inference_pb2.Inference = reply.inference
        return found


def _turns(messages: Iterable[content_pb2.Message]) -> tuple[Turn, ...]:
    return tuple(Turn(role=_ROLES[each.role], text=_text(each.parts)) for each in messages)


def _text(parts: Iterable[content_pb2.Part]) -> str:
    return "".join(part.text for part in parts)
