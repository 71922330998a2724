"""Erase a person: what they said, and what anybody said about their questions."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_feedback.application.ports import FeedbackStore, Inferences, Ledger, Pending, Prompts
from tidemill_feedback.domain.feedback import Feedback
from tidemill_kit.core.application import Caller, PageRequest, Request
from tidemill_kit.core.errors import InvalidInput, Violation

_BATCH_SIZE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """Reactions that were erased, and records of questions and answers."""

    reactions: int
    inferences: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseEndUser:
    """Emits nothing: no event carries what people wrote, and the next batch holds what counts by then.

    What inference keeps of the person's questions goes last: until then it reports whose question a reaction is about.

    What was erased already is gone through again, so that a call that was cut short is finished by the next one.
    """

    feedback: FeedbackStore
    pending: Pending
    ledger: Ledger
    prompts: Prompts
    inferences: Inferences

    async def __call__(self, caller: Caller, end_user: str, *, request: Request, validate_only: bool = False) -> Erased:
        """Return how much was erased, or would be.

        Raises:
            InvalidInput: nobody is named.
            DependencyUnavailable: inference does not answer; what is done so far is kept.

        """
        if not end_user:
            raise InvalidInput.of(Violation(field="end_user", description="is empty; name who is to be erased"))
        if not validate_only:
            await self.pending.forget(caller.project, end_user)
        erased = set[str]()
        for role in ("end_user", "asked_by"):
            token = ""
            while True:
                page = await self.feedback.list(
                    caller.project,
                    page=PageRequest(size=_BATCH_SIZE, token=token),
                    where={role: end_user},
                    show_deleted=True,
                )
                erased |= {each.id for each in page.items if not each.deleted}
                if not validate_only:
                    await self._erase(caller.project, page.items, end_user, request)
                token = page.next_token
                if not token:
                    break
        records = await self.inferences.erase(caller.project, end_user, validate_only=validate_only)
        return Erased(reactions=len(erased), inferences=records)

    async def _erase(self, project: str, found: Sequence[Feedback], end_user: str, request: Request) -> None:
        """Leave tombstones, by which the next call finds what else is kept."""
        tombstones = list[Feedback]()
        for each in found:
            erased = await self.feedback.upsert(each, lambda feedback: feedback.erase(), request=request)
            if erased.deleted:  # else it was said after this very request was done
                tombstones.append(erased)
        await self.ledger.forget([each.id for each in tombstones])
        await self.prompts.forget(project, [each.inference for each in tombstones if each.asked_by == end_user])
