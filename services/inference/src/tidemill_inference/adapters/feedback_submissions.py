"""Reactions, on their way to feedback."""

import grpc

from tidemill.content.v1 import content_pb2
from tidemill.feedback.v1 import feedback_pb2, feedback_service_pb2, feedback_service_pb2_grpc
from tidemill_inference.application.ports import Reaction, SubmittedReaction
from tidemill_inference.domain.errors import ServiceNotNamed
from tidemill_kit.errors import DeadlineExceeded, DependencyUnavailable, Internal


class FeedbackSubmissions:
    """Implements `application.ports.Reactions`. It submits for the current caller's project; None knows no feedback."""

    def __init__(self, channel: grpc.aio.Channel | None, *, timeout_s: float) -> None:
        self._feedback = feedback_service_pb2_grpc.FeedbackServiceStub(channel) if channel else None
        self._timeout_s = timeout_s

    async def submit(self, project: str, reaction: Reaction, *, request_id: str) -> SubmittedReaction:  # noqa: ARG002
        """See `Reactions.submit`."""
        if self._feedback is None:
            raise ServiceNotNamed(service="feedback", setting="INFERENCE_FEEDBACK_ADDRESS")
        request = feedback_service_pb2.SubmitFeedbackRequest(feedback=_message(reaction), request_id=request_id)
        try:
            response = await self._feedback.SubmitFeedback(request, timeout=self._timeout_s)
        except (DeadlineExceeded, Internal) as error:
            message = f"feedback does not answer: {error.message}"
            raise DependencyUnavailable(message, dependency="feedback") from error
        state = feedback_pb2.FeedbackState.Name(response.feedback.state)
        return SubmittedReaction(id=response.feedback.id, state=state.removeprefix("FEEDBACK_STATE_").lower())


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
