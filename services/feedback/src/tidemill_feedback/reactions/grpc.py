"""FeedbackService: what people think of answers."""

from dataclasses import dataclass

from tidemill.feedback.v1 import feedback_service_pb2 as pb
from tidemill.feedback.v1.feedback_service_pb2_grpc import FeedbackServiceServicer
from tidemill_core.application import Clock
from tidemill_feedback.reactions.crud import FeedbackCrud
from tidemill_feedback.reactions.erase_end_user import EraseEndUser
from tidemill_feedback.reactions.messages import feedback_message, reaction_of
from tidemill_feedback.reactions.submit_feedback import Submission, SubmitFeedback
from tidemill_kit.grpc.server import current_caller, page_of, request_of, write_of


@dataclass(frozen=True, kw_only=True)
class GrpcFeedbackService(FeedbackServiceServicer):
    """Message -> use case -> message; errors are translated by the server's interceptor."""

    feedback: FeedbackCrud
    submit: SubmitFeedback
    erase: EraseEndUser
    clock: Clock

    async def SubmitFeedback(self, request: pb.SubmitFeedbackRequest, _context: object) -> pb.SubmitFeedbackResponse:
        """Record a reaction."""
        submission = Submission(
            reaction=reaction_of(request.feedback),
            request=request_of(request),
            observed_at=self.clock.now(),
            validate_only=request.validate_only,
        )
        feedback = await self.submit(current_caller(), submission)
        return pb.SubmitFeedbackResponse(feedback=feedback_message(feedback))

    async def WithdrawFeedback(
        self, request: pb.WithdrawFeedbackRequest, _context: object
    ) -> pb.WithdrawFeedbackResponse:
        """Take a reaction back."""
        feedback = await self.feedback.withdraw(current_caller(), request.id, write_of(request))
        return pb.WithdrawFeedbackResponse(feedback=feedback_message(feedback))

    async def GetFeedback(self, request: pb.GetFeedbackRequest, _context: object) -> pb.GetFeedbackResponse:
        """Return one feedback."""
        feedback = await self.feedback.get(current_caller(), request.id)
        return pb.GetFeedbackResponse(feedback=feedback_message(feedback))

    async def ListFeedback(self, request: pb.ListFeedbackRequest, _context: object) -> pb.ListFeedbackResponse:
        """Return a page of feedback."""
        page = await self.feedback.list(
            current_caller(),
            page_of(request, filters={"deployment": "deployment"}),
            inference=request.inference,
            conversation=request.conversation,
            deployment=request.deployment,
        )
        return pb.ListFeedbackResponse(
            feedback=[feedback_message(each) for each in page.items], next_page_token=page.next_token
        )

    async def EraseEndUser(self, request: pb.EraseEndUserRequest, _context: object) -> pb.EraseEndUserResponse:
        """Erase a person's reactions, and those to their questions."""
        erased = await self.erase(current_caller(), request.end_user, write_of(request))
        return pb.EraseEndUserResponse(erased=erased.reactions, inferences=erased.inferences)
