"""What the routes of `POST /v1/feedback` call: feedback, by gRPC, in the name of who calls here."""

from dataclasses import dataclass

from tidemill.feedback.v1 import feedback_pb2
from tidemill.feedback.v1 import feedback_service_pb2 as pb
from tidemill.feedback.v1.feedback_service_pb2_grpc import FeedbackServiceStub
from tidemill_core.application import Caller
from tidemill_core.errors import DeadlineExceeded, DependencyUnavailable, Internal
from tidemill_core.grpc.context import acting_as
from tidemill_inference.errors import ServiceNotNamed


@dataclass(frozen=True, kw_only=True)
class RemoteFeedback:
    """Implements the kit's `FeedbackRpcs`; `service` is None where no address of feedback is set."""

    service: FeedbackServiceStub | None
    timeout_s: float

    async def __call__(
        self,
        caller: Caller,
        request: pb.SubmitFeedbackRequest | pb.GetFeedbackRequest | pb.WithdrawFeedbackRequest,
        /,
    ) -> feedback_pb2.Feedback:
        """See `FeedbackRpcs`."""
        if self.service is None:
            raise ServiceNotNamed(service="feedback", setting="INFERENCE_FEEDBACK_ADDRESS")
        try:
            with acting_as(caller):
                match request:
                    case pb.SubmitFeedbackRequest():
                        return (await self.service.SubmitFeedback(request, timeout=self.timeout_s)).feedback
                    case pb.GetFeedbackRequest():
                        return (await self.service.GetFeedback(request, timeout=self.timeout_s)).feedback
                    case pb.WithdrawFeedbackRequest():
                        return (await self.service.WithdrawFeedback(request, timeout=self.timeout_s)).feedback
        except (DeadlineExceeded, Internal) as error:
            message = f"feedback does not answer: {error.message}"
            raise DependencyUnavailable(message, dependency="feedback") from error
