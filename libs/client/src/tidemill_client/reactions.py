"""What people think of answers, and what becomes of it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

from tidemill.feedback.v1.curation_pb2 import Curation
from tidemill.feedback.v1.curation_service_pb2 import GetCurationRequest
from tidemill.feedback.v1.feedback_pb2 import Correction, Feedback
from tidemill.feedback.v1.feedback_service_pb2 import (
    EraseEndUserRequest,
    EraseEndUserResponse,
    GetFeedbackRequest,
    ListFeedbackRequest,
    SubmitFeedbackRequest,
    WithdrawFeedbackRequest,
)
from tidemill_client.connection import Connection
from tidemill_client.pages import every
from tidemill_client.values import assistant


@dataclass(frozen=True, slots=True, kw_only=True)
class Rater:
    """Whose reaction it is. A later one of the same person to the same inference replaces the earlier."""

    end_user: str = ""
    """A pseudonym; empty takes that of the inference."""
    rater: str = ""
    """"user" (the default), "reviewer" or "judge"."""
    request_id: str = ""
    """The same id again has no second effect."""


ANONYMOUS = Rater()


class Reactions:
    """Ratings, comments and corrections of live answers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def rate(self, inference: str, rating: float, rater: Rater = ANONYMOUS) -> Feedback:
        """Rate an answer from 0 (bad) to 1 (good)."""
        return await self._submit(Feedback(inference=inference, metric="rating", number=rating), rater)

    async def correct(self, inference: str, text: str, rater: Rater = ANONYMOUS) -> Feedback:
        """Return what should have been answered.

        Raises:
            InvalidInput: the correction is empty, or what was answered.

        """
        correction = Correction(output=[assistant(text)])
        return await self._submit(Feedback(inference=inference, metric="correction", correction=correction), rater)

    async def comment(self, inference: str, text: str, rater: Rater = ANONYMOUS) -> Feedback:
        """Say something about an answer."""
        return await self._submit(Feedback(inference=inference, metric="comment", comment=text), rater)

    async def withdraw(self, feedback: str) -> Feedback:
        """Take a reaction back: it teaches nothing from then on."""
        request = WithdrawFeedbackRequest(id=feedback, request_id=str(uuid4()))
        return (await self._connection.feedback.WithdrawFeedback(request)).feedback

    async def get(self, feedback: str) -> Feedback:
        """Return one reaction."""
        return (await self._connection.feedback.GetFeedback(GetFeedbackRequest(id=feedback))).feedback

    async def all(self, *, inference: str = "", deployment: str = "") -> AsyncIterator[Feedback]:
        """Yield the reactions, oldest first."""
        request = ListFeedbackRequest(inference=inference, deployment=deployment)
        async for page in every(self._connection.feedback.ListFeedback, request):
            for feedback in page.feedback:
                yield feedback

    async def erase(self, end_user: str, *, validate_only: bool = False) -> EraseEndUserResponse:
        """Erase what a person said and asked, and what anybody said about that person's questions; say how much.

        No batch that is completed afterwards holds any of it, nor the dataset version that is made of one.
        """
        request = EraseEndUserRequest(end_user=end_user, request_id=str(uuid4()), validate_only=validate_only)
        return await self._connection.feedback.EraseEndUser(request)

    async def curation(self, dataset: str) -> Curation:
        """Return the rule by which reactions become examples of a dataset, and how far it is."""
        return (await self._connection.curations.GetCuration(GetCurationRequest(id=dataset))).curation

    async def _submit(self, feedback: Feedback, rater: Rater) -> Feedback:
        feedback.end_user, feedback.rater = rater.end_user, rater.rater
        request = SubmitFeedbackRequest(feedback=feedback, request_id=rater.request_id)
        return (await self._connection.feedback.SubmitFeedback(request)).feedback
