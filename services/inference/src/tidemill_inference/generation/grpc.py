"""InferenceService: message -> use case -> message, streams at the pace of their reader."""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from tidemill.inference.v1 import inference_service_pb2 as pb
from tidemill.inference.v1 import inference_service_pb2_grpc
from tidemill_inference.generation.answer import AnswerQuestion
from tidemill_inference.generation.domain.errors import QuestionRefused
from tidemill_inference.generation.domain.speaker import compared_by, request_by, spoken_by
from tidemill_inference.generation.erase_end_user import EraseEndUser
from tidemill_inference.generation.erase_inference import EraseInference
from tidemill_inference.generation.messages import delta_message, inference_message, question_of
from tidemill_inference.generation.ports import Delta, Finished, Started, Step, ToolCallDelta
from tidemill_inference.generation.read_inferences import ReadInferences
from tidemill_inference.generation.show_prompt import ShowPrompt
from tidemill_kit.grpc.server import current_caller, page_of, remaining_s, request_of, write_of
from tidemill_kit.mapping import to_message

Context = grpc.aio.ServicerContext[Any, Any]

_NO_DEADLINE_S = 3600.0
_MARGIN_S = 0.25
"""Margin before the caller's deadline at which a timeout error naming the slow dependency is returned."""


class GrpcInferenceService(inference_service_pb2_grpc.InferenceServiceServicer):
    """Serves answers; errors are mapped by the kit's interceptor."""

    def __init__(
        self,
        answer: AnswerQuestion,
        reading: ReadInferences,
        show_prompt: ShowPrompt,
        *,
        erase_inference: EraseInference,
        erase: EraseEndUser,
    ) -> None:
        self._answer = answer
        self._limits = answer.limits
        self._erase_inference = erase_inference
        self._erase = erase
        self._reading = reading
        self._show_prompt = show_prompt

    async def Generate(self, request: pb.GenerateRequest, context: Context) -> pb.GenerateResponse:
        """Answer a question, whole."""
        caller = current_caller()
        question = compared_by(caller, spoken_by(caller, question_of(request, self._limits)))
        intent = request_by(caller, request_of(request))
        async with aclosing(self._answer(caller, question, request=intent, until=_until())) as steps:
            async for step in steps:
                _show_limits(context, step)
                if isinstance(step, Finished):
                    return pb.GenerateResponse(inference=inference_message(step.inference))
        raise AssertionError  # Finished is always the last step

    async def GenerateStream(
        self, request: pb.GenerateStreamRequest, context: Context
    ) -> AsyncIterator[pb.GenerateStreamResponse]:
        """Answer a question, token by token. A request id is the same intent here and in Generate."""
        asked, caller = request.request, current_caller()
        if asked.best_of:
            raise QuestionRefused(field="best_of", why="is not for streams: leave it out, or call Generate")
        question = compared_by(caller, spoken_by(caller, question_of(asked, self._limits)))
        intent = request_by(caller, request_of(asked))
        steps = self._answer(caller, question, request=intent, until=_until())
        sequence = 0
        async with aclosing(steps):
            async for step in steps:
                sequence += 1
                _show_limits(context, step)
                yield _streamed(step, sequence)

    async def GetInference(self, request: pb.GetInferenceRequest, _context: Context) -> pb.GetInferenceResponse:
        """Return one inference as it was recorded."""
        inference = await self._reading.get(current_caller(), request.id)
        return pb.GetInferenceResponse(inference=inference_message(inference))

    async def GetInferencePrompt(
        self, request: pb.GetInferencePromptRequest, _context: Context
    ) -> pb.GetInferencePromptResponse:
        """Return what the model saw, rendered again."""
        shown = await self._show_prompt(current_caller(), request.id)
        return to_message(pb.GetInferencePromptResponse, shown)

    async def EraseInference(self, request: pb.EraseInferenceRequest, _context: Context) -> pb.EraseInferenceResponse:
        """Erase question and answer of one inference."""
        await self._erase_inference(current_caller(), request.id, write_of(request))
        return pb.EraseInferenceResponse(id=request.id)

    async def EraseEndUser(self, request: pb.EraseEndUserRequest, _context: Context) -> pb.EraseEndUserResponse:
        """Erase some of a person's records."""
        erased = await self._erase(
            current_caller(), request.end_user, validate_only=request.validate_only, token=request.page_token
        )
        return pb.EraseEndUserResponse(erased=erased.records, more=erased.more, next_page_token=erased.next_token)

    async def ListInferences(self, request: pb.ListInferencesRequest, _context: Context) -> pb.ListInferencesResponse:
        """Return a page of inferences."""
        asked = page_of(request, filters={"deployment": "deployment"})
        page = await self._reading.list(current_caller(), page=asked, deployment=request.deployment)
        return pb.ListInferencesResponse(
            inferences=[inference_message(each) for each in page.items], next_page_token=page.next_token
        )


def _show_limits(context: Context, step: Step) -> None:
    """Send what HTTP clients get as headers."""
    if isinstance(step, Started) and step.limits is not None:
        context.set_trailing_metadata(tuple(step.limits.headers()))


def _until() -> float:
    """Return the caller's deadline, less the margin for returning an error."""
    left_s = remaining_s(_NO_DEADLINE_S)
    return time.monotonic() + left_s - min(_MARGIN_S, left_s / 10)


def _streamed(step: Step, sequence: int) -> pb.GenerateStreamResponse:
    match step:
        case Started():
            return pb.GenerateStreamResponse(sequence=sequence, started=inference_message(step.inference))
        case Delta() | ToolCallDelta():
            return pb.GenerateStreamResponse(sequence=sequence, delta=delta_message(step))
        case Finished():
            return pb.GenerateStreamResponse(sequence=sequence, finished=inference_message(step.inference))
