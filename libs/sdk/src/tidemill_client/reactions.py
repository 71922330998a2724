"""Feedback on answers: ratings, comments, corrections, choices, and values of declared metrics."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from tidemill.feedback.v1.curation_pb2 import Curation, RefusedExample
from tidemill.feedback.v1.curation_service_pb2 import GetCurationRequest, ListRefusedExamplesRequest
from tidemill.feedback.v1.feedback_pb2 import Correction, Feedback, Preference
from tidemill.feedback.v1.feedback_service_pb2 import (
    EraseEndUserRequest,
    EraseEndUserResponse,
    GetFeedbackRequest,
    ListFeedbackRequest,
    SubmitFeedbackRequest,
    WithdrawFeedbackRequest,
)
from tidemill_client.connection import Connection
from tidemill_client.pages import each, filter_of
from tidemill_client.values import assistant


@dataclass(frozen=True, slots=True, kw_only=True)
class Rater:
    """Who gives the feedback. A later one by the same rater on the same inference replaces the earlier one."""

    end_user: str = ""
    """The user's pseudonym; empty means that of the inference."""
    rater: str = ""
    """"user" (the default), "reviewer" or "judge"."""
    request_id: str = ""
    """Idempotency key."""


ANONYMOUS = Rater()


class Reactions:
    """The feedback of a project."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def rate(self, inference: str, rating: float, rater: Rater = ANONYMOUS) -> Feedback:
        """Rate an answer from 0 (bad) to 1 (good)."""
        return await self._submit(Feedback(inference=inference, metric="rating", number=rating), rater)

    async def correct(self, inference: str, text: str, rater: Rater = ANONYMOUS) -> Feedback:
        """Submit the correct answer.

        Raises:
            InvalidInput: the correction is empty or equals the answer.

        """
        correction = Correction(output=[assistant(text)])
        return await self._submit(Feedback(inference=inference, metric="correction", correction=correction), rater)

    async def comment(self, inference: str, text: str, rater: Rater = ANONYMOUS) -> Feedback:
        """Comment on an answer."""
        return await self._submit(Feedback(inference=inference, metric="comment", comment=text), rater)

    async def prefer(
        self, chosen: str, rejected: str, rater: Rater = ANONYMOUS, *, tie: bool = False, chosen_position: int = 0
    ) -> Feedback:
        """Prefer the answer of one inference to that of another; with `tie` neither.

        Raises:
            InvalidInput: they are not two different answers to one question, of one deployment to one end user.

        """
        choice = Preference(chosen=chosen, rejected=rejected, tie=tie, chosen_position=chosen_position)
        return await self._submit(Feedback(metric="preference", preference=choice), rater)

    async def give(self, inference: str, metric: str, value: bool | float | str, rater: Rater = ANONYMOUS) -> Feedback:  # noqa: FBT001 - a value
        """Give the value of a metric that the project declares: true or false, a number, or one of its choices.

        Raises:
            InvalidInput: there is no such metric, or its values are others.

        """
        return await self._submit(_valued(Feedback(inference=inference, metric=metric), value), rater)

    async def give_conversation(
        self,
        conversation: str,
        metric: str,
        value: bool | float | str,  # noqa: FBT001 - a value
        rater: Rater = ANONYMOUS,
    ) -> Feedback:
        """Give the value of a metric of conversations.

        Raises:
            InvalidInput: there is no such metric, or its values are others.
            NotFound: there is no such conversation, or nothing was answered in it yet.

        """
        return await self._submit(_valued(Feedback(conversation=conversation, metric=metric), value), rater)

    async def withdraw(self, feedback: str) -> Feedback:
        """Withdraw feedback: later training data excludes it."""
        request = WithdrawFeedbackRequest(id=feedback)
        return (await self._connection.feedback.WithdrawFeedback(request)).feedback

    async def get(self, feedback: str) -> Feedback:
        """Return one feedback."""
        return (await self._connection.feedback.GetFeedback(GetFeedbackRequest(id=feedback))).feedback

    def all(self, *, inference: str = "", conversation: str = "", deployment: str = "") -> AsyncIterator[Feedback]:
        """Yield the feedback, oldest first; of an inference or a conversation also what waits for it."""
        request = ListFeedbackRequest(inference=inference, conversation=conversation, deployment=deployment)
        return each(self._connection.feedback.ListFeedback, request, lambda page: page.feedback)

    async def erase(self, end_user: str, *, validate_only: bool = False) -> EraseEndUserResponse:
        """Erase a user's feedback and questions, and all feedback on them; return the counts.

        Batches and dataset versions that are completed later exclude it.
        """
        request = EraseEndUserRequest(end_user=end_user, validate_only=validate_only)
        return await self._connection.feedback.EraseEndUser(request)

    async def curation(self, dataset: str) -> Curation:
        """Return a curation: the rule by which feedback becomes examples of a dataset, and its progress."""
        return (await self._connection.curations.GetCuration(GetCurationRequest(id=dataset))).curation

    def refused(self, dataset: str, *, reason: str = "") -> AsyncIterator[RefusedExample]:
        """Yield the corrections that do not become examples of a dataset, oldest first; only those with this reason."""
        request = ListRefusedExamplesRequest(curation=dataset, filter=filter_of(reason=reason))
        return each(self._connection.curations.ListRefusedExamples, request, lambda page: page.examples)

    async def _submit(self, feedback: Feedback, rater: Rater) -> Feedback:
        feedback.end_user, feedback.rater = rater.end_user, rater.rater
        request = SubmitFeedbackRequest(feedback=feedback, request_id=rater.request_id)
        return (await self._connection.feedback.SubmitFeedback(request)).feedback


def _valued(feedback: Feedback, value: bool | float | str) -> Feedback:  # noqa: FBT001 - a value
    if isinstance(value, bool):
        feedback.flag = value
    elif isinstance(value, str):
        feedback.category = value
    else:
        feedback.number = value
    return feedback
