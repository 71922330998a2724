"""Reactions, on their way to feedback."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from tidemill.content.v1 import content_pb2
from tidemill.feedback.v1 import feedback_pb2, feedback_service_pb2_grpc
from tidemill.feedback.v1 import feedback_service_pb2 as pb
from tidemill_core.application import Caller
from tidemill_core.errors import DeadlineExceeded, DependencyUnavailable, Internal
from tidemill_core.grpc.context import acting_as
from tidemill_inference.errors import ServiceNotNamed
from tidemill_inference.openai_api.ports import Reaction, SubmittedReaction

_ASKER = "user"
"""The rater that the person who asked is."""


class FeedbackSubmissions:
    """Implements `ports.Reactions`; None knows no feedback."""

    def __init__(self, channel: grpc.aio.Channel | None, *, timeout_s: float) -> None:
        self._feedback = feedback_service_pb2_grpc.FeedbackServiceStub(channel) if channel else None
        self._timeout_s = timeout_s

    async def submit(self, caller: Caller, reaction: Reaction, *, request_id: str) -> SubmittedReaction:
        """See `Reactions.submit`."""
        request = pb.SubmitFeedbackRequest(feedback=_message(reaction), request_id=request_id)
        with _answering(), acting_as(caller):
            response = await self._stub().SubmitFeedback(request, timeout=self._timeout_s)
        return _submitted(response.feedback)

    async def get(self, caller: Caller, reaction: str) -> SubmittedReaction:
        """See `Reactions.get`."""
        with _answering(), acting_as(caller):
            response = await self._stub().GetFeedback(pb.GetFeedbackRequest(id=reaction), timeout=self._timeout_s)
        return _submitted(response.feedback)

    async def withdraw(self, caller: Caller, reaction: str, *, request_id: str) -> SubmittedReaction:
        """See `Reactions.withdraw`."""
        request = pb.WithdrawFeedbackRequest(id=reaction, request_id=request_id)
        with _answering(), acting_as(caller):
            response = await self._stub().WithdrawFeedback(request, timeout=self._timeout_s)
        return _submitted(response.feedback)

    def _stub(self) -> feedback_service_pb2_grpc.FeedbackServiceStub:
        if self._feedback is None:
            raise ServiceNotNamed(service="feedback", setting="INFERENCE_FEEDBACK_ADDRESS")
        return self._feedback


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (DeadlineExceeded, Internal) as error:
        message = f"feedback does not answer: {error.message}"
        raise DependencyUnavailable(message, dependency="feedback") from error


def _submitted(feedback: feedback_pb2.Feedback) -> SubmittedReaction:
    withdrawn = feedback.state == feedback_pb2.FEEDBACK_STATE_WITHDRAWN
    return SubmittedReaction(
        id=feedback.id,
        state=feedback_pb2.FeedbackState.Name(feedback.state).removeprefix("FEEDBACK_STATE_").lower(),
        inference=feedback.inference,
        metric=feedback.metric,
        of_asker=feedback.rater == _ASKER and (feedback.counts or withdrawn),
    )


def _message(reaction: Reaction) -> feedback_pb2.Feedback:
    message = feedback_pb2.Feedback(inference=reaction.inference, metric=reaction.metric)
    if reaction.number is not None:
        message.number = reaction.number
    if reaction.comment is not None:
        message.comment = reaction.comment
    if reaction.correction is not None:
        part = content_pb2.Part(text=reaction.correction)
        message.correction.output.add(role=content_pb2.ROLE_ASSISTANT, parts=[part])
    return message
