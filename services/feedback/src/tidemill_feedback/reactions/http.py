"""`/v1/feedback` beside the RPCs, behind the edge that all RPCs have: one effect, one line of log, one place."""

from dataclasses import dataclass
from typing import Any

from tidemill.feedback.v1 import feedback_pb2
from tidemill.feedback.v1 import feedback_service_pb2 as pb
from tidemill_core.application import Caller
from tidemill_kit.http.rpc import HttpRpcs

_SERVICE = pb.DESCRIPTOR.services_by_name["FeedbackService"].full_name


@dataclass(frozen=True, kw_only=True)
class OwnRpcs:
    """Implements the kit's `FeedbackRpcs` by the RPCs of this process."""

    rpcs: HttpRpcs

    async def __call__(
        self,
        caller: Caller,
        request: pb.SubmitFeedbackRequest | pb.GetFeedbackRequest | pb.WithdrawFeedbackRequest,
        /,
    ) -> feedback_pb2.Feedback:
        """See `FeedbackRpcs`.

        The holder of the answer's token stands for who asked, whatever credential is sent with it.
        """
        name = request.DESCRIPTOR.name.removesuffix("Request")
        reads = isinstance(request, pb.GetFeedbackRequest)
        holder = caller if reads else Caller(project=caller.project, via="feedback")
        reply: Any = await self.rpcs.call(f"/{_SERVICE}/{name}", request, caller=holder)
        feedback: feedback_pb2.Feedback = reply.feedback
        return feedback
