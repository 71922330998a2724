"""Use cases: get, list and withdraw feedback."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tidemill_core import resources
from tidemill_core.application import Caller, Clock, Page, PageRequest
from tidemill_core.errors import InvalidInput
from tidemill_core.paging import Place, checked_size, list_digest, place_of, token_after
from tidemill_core.resources import Write
from tidemill_feedback.reactions.domain.feedback import Feedback, Given
from tidemill_feedback.reactions.domain.reaction import OF_CONVERSATION
from tidemill_feedback.reactions.domain.speaker import check_withdraws
from tidemill_feedback.reactions.ports import FeedbackStore, Pending, Waiting

_WAITING = "waiting."
"""Begins the tokens that lead on among what waits."""
_MAX_WAITING_BYTES = 512 * 1024
"""Of the events that became what waits on one page, so that a client takes it together with what the store gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackCrud:
    """A withdrawal emits FeedbackWasWithdrawn, by which a correction leaves the curations and a rating its rollout."""

    feedback: FeedbackStore
    pending: Pending
    clock: Clock
    keep: int
    """How many earlier reactions are kept."""

    async def get(self, caller: Caller, feedback_id: str) -> Feedback:
        """Return one feedback.

        Raises:
            FeedbackNotFound: the caller's project has none with this id.

        """
        return await self.feedback.get(caller.project, feedback_id)

    async def list(
        self, caller: Caller, page: PageRequest, *, inference: str = "", conversation: str = "", deployment: str = ""
    ) -> Page[Feedback]:
        """Return a page; the first ones of an inference or a conversation begin with what waits for it, oldest first.

        Raises:
            InvalidInput: the page is not usable, or of one inference or conversation and newest first.

        """
        asked = {"inference": inference, "conversation": conversation, "deployment": deployment}
        where = {name: value for name, value in asked.items() if value}
        _check_target(where)
        size, among_waiting = checked_size(page), page.token.startswith(_WAITING)
        awaited = f"{OF_CONVERSATION}{conversation}" if conversation else inference
        if not awaited or deployment or (page.token and not among_waiting):
            return await self.feedback.list(caller.project, page=page, where=where)
        if page.newest_first or page.where:
            text = "is not supported for the feedback of one inference or conversation: leave it empty"
            field = "order_by" if page.newest_first else "filter"
            raise InvalidInput.at(field=field, text=text)
        digest = list_digest(caller.project, where, show_deleted=False)
        after = place_of(page.token.removeprefix(_WAITING), digest=digest)
        waiting = sorted(await self.pending.of(caller.project, awaited), key=_order)
        left = [each for each in waiting if after is None or _order(each) > (after.create_time, after.id)]
        begin = _first_of(left, size)
        shown = [_shown(each) for each in begin]
        if len(begin) < len(left) or len(begin) == size:
            return Page(items=shown, next_token=_WAITING + token_after(Place(*_order(begin[-1])), digest=digest))
        found = await self.feedback.list(caller.project, page=PageRequest(size=size - len(begin)), where=where)
        return Page(items=[*shown, *found.items], next_token=found.next_token)

    async def withdraw(self, caller: Caller, feedback_id: str, write: Write) -> Feedback:
        """Return the feedback without a current reaction; idempotent.

        Raises:
            FeedbackNotFound: the project has none with this id.
            SpeaksForAnother: it is not the caller's.

        """
        now = self.clock.now()

        def change(feedback: Feedback) -> None:
            check_withdraws(caller, feedback)
            feedback.withdraw(keep=self.keep, now=now)

        return await resources.update(self.feedback, caller.project, feedback_id, change, write)


def _check_target(where: Mapping[str, str]) -> None:
    if "conversation" in where and len(where) > 1:
        raise InvalidInput.at(field="conversation", text="is set beside another target: list by one of them")
    if where.get("inference", "").startswith(OF_CONVERSATION):
        text = f"begins with {OF_CONVERSATION!r}; no id of an inference does: name the conversation in conversation"
        raise InvalidInput.at(field="inference", text=text)


def _order(waiting: Waiting) -> tuple[datetime, str]:
    return waiting.since, waiting.request.id


def _first_of(waiting: Sequence[Waiting], size: int) -> Sequence[Waiting]:
    """Return as many as a page takes, and at least one where there is one."""
    capacity = _MAX_WAITING_BYTES
    for count, each in enumerate(waiting[:size]):
        capacity -= len(each.event.body.encode())
        if count and capacity < 0:
            return waiting[:count]
    return waiting[:size]


def _shown(waiting: Waiting) -> Feedback:
    """Return a reaction that waits as feedback that is PENDING; whose it is may only be known with the inference."""
    of, reaction = waiting.inference, waiting.reaction
    inference = "" if reaction.conversation else (reaction.preference.chosen if reaction.preference else of)
    shown = Feedback.fresh(waiting.project, reaction, inference=inference, end_user="")
    shown.current, shown.times = Given.of(waiting.reaction, waiting.event.time, now=waiting.since), 1
    shown.labels = dict(waiting.reaction.labels)
    shown.create_time = shown.update_time = waiting.since
    shown.message = "waits for its conversation" if waiting.reaction.conversation else "waits for its inference"
    return shown
