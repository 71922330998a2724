"""Reads answers from inference, and has it erase those of an end user."""

import hashlib
from collections.abc import Iterable

import grpc

from tidemill.content.v1 import content_pb2
from tidemill.inference.v1 import inference_pb2
from tidemill.inference.v1.conversation_service_pb2 import GetConversationRequest
from tidemill.inference.v1.conversation_service_pb2_grpc import ConversationServiceStub
from tidemill.inference.v1.inference_service_pb2 import EraseEndUserRequest, GetInferenceRequest
from tidemill.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
from tidemill_core.application import Caller
from tidemill_core.errors import NotFound
from tidemill_core.grpc.context import acting_as
from tidemill_feedback.errors import ConversationUnknown, InferenceUnknown
from tidemill_feedback.reactions.domain.feedback import Answer
from tidemill_feedback.reactions.domain.reaction import OF_CONVERSATION
from tidemill_kit.mapping import from_timestamp

_LIVE = {inference_pb2.PURPOSE_UNSPECIFIED, inference_pb2.PURPOSE_LIVE}


def _digest(messages: Iterable[content_pb2.Message]) -> str:
    written = [message.SerializeToString(deterministic=True) for message in messages]
    return hashlib.sha256(b"".join(len(each).to_bytes(8) + each for each in written)).hexdigest() if written else ""


class InferenceAnswers:
    """Implements `ports.Inferences`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._inference = InferenceServiceStub(channel)
        self._conversations = ConversationServiceStub(channel)

    async def answer(self, caller: Caller, target: str) -> Answer:
        """See `Inferences.answer`."""
        conversation = target.removeprefix(OF_CONVERSATION)
        inference = target if conversation == target else await self._last_of(caller, conversation)
        with acting_as(caller):
            try:
                found = (await self._inference.GetInference(GetInferenceRequest(id=inference))).inference
            except NotFound as error:
                raise InferenceUnknown(inference) from error
        return Answer(
            inference=found.id,
            deployment=found.deployment,
            end_user=found.end_user,
            variant=found.variant.name,
            rollout=found.variant.rollout,
            create_time=from_timestamp(found.create_time, field="create_time")
            if found.HasField("create_time")
            else None,
            live=found.purpose in _LIVE,
            completed=found.state == inference_pb2.INFERENCE_STATE_COMPLETED,
            output=" ".join("".join(part.text or part.json for part in message.parts) for message in found.output),
            question=_digest(found.messages),
        )

    async def _last_of(self, caller: Caller, conversation: str) -> str:
        with acting_as(caller):
            try:
                found = await self._conversations.GetConversation(GetConversationRequest(id=conversation))
            except NotFound as error:
                raise ConversationUnknown(conversation) from error
        answered = [turn for turn in found.conversation.turns if turn.state == inference_pb2.INFERENCE_STATE_COMPLETED]
        if not answered:
            raise ConversationUnknown(conversation)
        return answered[-1].inference

    async def erase(self, caller: Caller, end_user: str, *, validate_only: bool) -> int:
        """See `Inferences.erase`."""
        erased, token = 0, ""
        while True:
            request = EraseEndUserRequest(end_user=end_user, validate_only=validate_only, page_token=token)
            with acting_as(caller):
                reply = await self._inference.EraseEndUser(request)
            erased, token = erased + reply.erased, reply.next_page_token
            if not reply.more:
                return erased
