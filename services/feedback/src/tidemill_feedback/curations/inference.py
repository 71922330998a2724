"""Reads the prompts of recorded answers from inference."""

from collections.abc import Iterable

import grpc
from google.protobuf.json_format import MessageToDict

from tidemill.content.v1 import content_pb2
from tidemill.inference.v1.inference_service_pb2 import GetInferencePromptRequest, GetInferenceRequest
from tidemill.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from tidemill_core.application import Caller
from tidemill_core.errors import NotFound
from tidemill_core.grpc.context import acting_as
from tidemill_feedback.curations.domain.example import PassageUse, Prompt, Turn
from tidemill_feedback.errors import AnswerUsesTools, InferenceUnknown
from tidemill_kit.mapping import REST, from_message


class InferencePrompts:
    """Implements `ports.RecordedPrompts`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._inference = InferenceServiceStub(channel)

    async def prompt(self, caller: Caller, inference: str) -> Prompt:
        """See `RecordedPrompts.prompt`."""
        with acting_as(caller):
            try:
                found = (await self._inference.GetInference(GetInferenceRequest(id=inference))).inference
            except NotFound as error:
                raise InferenceUnknown(inference) from error
            prompt = await self._inference.GetInferencePrompt(GetInferencePromptRequest(id=inference))
        if any(_uses_tools(message) for message in (*prompt.messages, *found.output)):
            raise AnswerUsesTools(inference)
        return Prompt(
            question=prompt.question,
            messages=_turns(prompt.messages),
            earlier=_turns(prompt.earlier),
            variables=MessageToDict(prompt.variables),
            principals=tuple(prompt.principals),
            passages=tuple(from_message(PassageUse, passage, ignore=REST) for passage in found.passages),
            answer=" ".join(turn.text for turn in _turns(found.output)),
        )


def _turns(messages: Iterable[content_pb2.Message]) -> tuple[Turn, ...]:
    return tuple(
        Turn(
            role=content_pb2.Role.Name(each.role).removeprefix("ROLE_").lower(),
            text="".join(part.text or part.json for part in each.parts),
        )
        for each in messages
    )


def _uses_tools(message: content_pb2.Message) -> bool:
    return any(part.WhichOneof("content") in {"tool_call", "tool_result"} for part in message.parts)
