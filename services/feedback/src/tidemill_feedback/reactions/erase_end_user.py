"""Erase an end user: their feedback, and all feedback on their questions."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from tidemill_core.application import Caller, PageRequest, Request
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import Write
from tidemill_feedback.reactions.domain.feedback import Feedback
from tidemill_feedback.reactions.ports import EraseReviews, FeedbackStore, ForgetExamples, Inferences, Pending

_BATCH_SIZE = 200
_ROLES = ("end_user", "asked_by")
"""What an end user can be of a reaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """Reactions that were erased, and records of questions and answers."""

    reactions: int
    inferences: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseReactions:
    """Erases an end user's reactions, and all reactions to their questions, a batch at a time.

    A tombstone names the user until nothing else does: by it what was made of a reaction is found, also after a crash.
    """

    feedback: FeedbackStore
    forget_examples: ForgetExamples

    async def some(self, caller: Caller, end_user: str) -> int:
        """Erase what was said, with its examples; return how many reactions that were, 0 when none is left."""
        for role in _ROLES:
            page = await self.feedback.list(caller.project, page=PageRequest(size=_BATCH_SIZE), where={role: end_user})
            if page.items:
                await self.erase(caller, page.items, end_user, request=Request.internal())
                return len(page.items)
        return 0

    async def erase(self, caller: Caller, found: Sequence[Feedback], end_user: str, *, request: Request) -> None:
        """Leave tombstones, by which a repeated call finds rows and prompts to delete."""
        tombstones = list[Feedback]()
        for each in found:
            erased = await self.feedback.upsert(each, lambda feedback: feedback.erase(), request=request)
            if erased.deleted:  # else it was submitted after this request was completed
                tombstones.append(erased)
        await self.forget_examples(caller, tombstones, end_user)

    async def late(self, caller: Caller, saved: Feedback, end_user: str, *, until: datetime) -> None:
        """Erase a reaction that was saved while its user was erased, or since, but for what was observed later."""
        left = await self.feedback.upsert(
            saved, lambda feedback: feedback.erase_until(until), request=Request.internal()
        )
        if left.deleted:
            await self.forget_examples(caller, [left], end_user)
            await self.feedback.upsert(left, lambda tombstone: tombstone.forget(), request=Request.internal())

    async def naming(self, caller: Caller, end_user: str) -> AsyncIterator[Sequence[Feedback]]:
        """Yield what names the user, tombstones too, in pages; reactions of users to their own questions come twice."""
        for role in _ROLES:
            token = ""
            while True:
                page = await self.feedback.list(
                    caller.project,
                    page=PageRequest(size=_BATCH_SIZE, token=token),
                    where={role: end_user},
                    show_deleted=True,
                )
                yield page.items
                token = page.next_token
                if not token:
                    break

    async def tombstones(self, caller: Caller, end_user: str) -> AsyncIterator[Sequence[Feedback]]:
        """Yield what was erased and names the user, in pages."""
        async for page in self.naming(caller, end_user):
            yield [each for each in page if each.deleted]

    async def names(self, caller: Caller, end_user: str) -> int:
        """Have some tombstones name the user no more, the last of all; return how many, 0 when none does."""
        async for page in self.tombstones(caller, end_user):
            if page:
                await self.forget_examples(caller, page, end_user)
                for each in page:
                    await self.feedback.upsert(each, lambda tombstone: tombstone.forget(), request=Request.internal())
                return len(page)
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseEndUser:
    """Emits nothing: no event carries user text, and the next batch has what counts by then.

    inference's records are erased after the reactions, because they attribute them to the user's questions, and review
    items once more after them, because until then items may be made of them. Feedback that is already erased is visited
    again, so that a repeated call completes an interrupted one.
    """

    pending: Pending
    reactions: EraseReactions
    reviews: EraseReviews
    inferences: Inferences

    async def __call__(self, caller: Caller, end_user: str, write: Write) -> Erased:
        """Return how much was erased, or would be.

        Raises:
            InvalidInput: end_user is empty.
            DependencyUnavailable: inference does not answer; progress is kept.

        """
        if not end_user:
            raise InvalidInput.at(field="end_user", text="is empty; set the end user to erase")
        if not write.validate_only:
            await self.pending.forget(caller.project, end_user)
        erased = set[str]()
        async for page in self.reactions.naming(caller, end_user):
            erased |= {each.id for each in page if not each.deleted}
            if not write.validate_only:
                await self.reactions.erase(caller, page, end_user, request=write.request)
        await self._erase_reviews(caller, end_user, write)
        records = await self.inferences.erase(caller, end_user, validate_only=write.validate_only)
        await self._erase_reviews(caller, end_user, write)
        return Erased(reactions=len(erased), inferences=records)

    async def _erase_reviews(self, caller: Caller, end_user: str, write: Write) -> None:
        while not write.validate_only and await self.reviews(caller, end_user):
            pass
