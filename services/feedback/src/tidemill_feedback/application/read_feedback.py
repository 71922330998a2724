"""What people think, as it was recorded."""

from dataclasses import dataclass

from tidemill_feedback.application.ports import FeedbackStore, Pending, Waiting
from tidemill_feedback.application.submit_feedback import fresh_feedback, given_of
from tidemill_feedback.domain.feedback import Feedback
from tidemill_kit.application import Caller, Page, PageRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFeedback:
    """Reads nothing but the caller's project."""

    feedback: FeedbackStore
    pending: Pending

    async def get(self, caller: Caller, feedback_id: str) -> Feedback:
        """Return one feedback.

        Raises:
            FeedbackNotFound: the caller's project has none with this id.

        """
        return await self.feedback.get(caller.project, feedback_id)

    async def list(
        self, caller: Caller, page: PageRequest, *, inference: str = "", deployment: str = ""
    ) -> Page[Feedback]:
        """Return a page, oldest first; the first page of one inference shows before that what waits for it."""
        asked = {"inference": inference, "deployment": deployment}
        where = {name: value for name, value in asked.items() if value}
        found = await self.feedback.list(caller.project, page=page, where=where)
        if not inference or deployment or page.token:
            return found
        waiting = [_shown(each) for each in await self.pending.of(caller.project, inference)]
        return Page(items=[*waiting, *found.items], next_token=found.next_token)


def _shown(waiting: Waiting) -> Feedback:
    """Return a reaction that waits as feedback that is PENDING; whose it is may only be known with the inference."""
    shown = fresh_feedback(waiting.project, waiting.reaction, inference=waiting.inference, end_user="")
    shown.current, shown.times = given_of(waiting.reaction, waiting.event.time), 1
    shown.labels = dict(waiting.reaction.labels)
    shown.create_time = shown.update_time = waiting.since
    shown.message = "waits for its inference"
    return shown
