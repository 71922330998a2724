"""Erase what a person asked, and what they were answered."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Page, PageRequest, Request
from tidemill_core.characters import clean_line
from tidemill_core.errors import InvalidInput
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.ports import EndUserData, EndUserFiles, ErasedLines, Inferences

_BATCH_SIZE = 200
"""A call ends well within its deadline, however many records there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """How much it was; where there is `more`, the next call goes on, and counting after `next_token`."""

    records: int
    more: bool
    next_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseEndUser:
    """A record that was erased names the person no more, so that the next call finds those that are left."""

    inferences: Inferences
    clock: Clock
    others: Sequence[EndUserData] = ()
    files: EndUserFiles | None = None
    """Not counted, which would read them all."""

    async def __call__(self, caller: Caller, end_user: str, *, validate_only: bool = False, token: str = "") -> Erased:
        """Erase some of the records, or count some.

        Raises:
            InvalidInput: the end user is missing.

        """
        if not end_user:
            raise InvalidInput.at(field="end_user", text="is empty; set the end user to erase")
        page = PageRequest(size=_BATCH_SIZE, token=token if validate_only else "")
        others = 0
        for each in () if page.token else self.others:
            others += await each.of_end_user(caller.project, end_user, validate_only=validate_only)
        found = await self._found(caller.project, end_user, page)
        more, count = bool(found.next_token), others + len(found.items)
        if validate_only:
            return Erased(records=count, more=more, next_token=found.next_token)
        for record in found.items:
            await self.inferences.update(
                caller.project, record.id, lambda stored: stored.erase(now=self.clock.now()), request=Request.internal()
            )
        lines = await self.files.some(caller.project, end_user) if self.files else ErasedLines(changed=0, more=False)
        return Erased(records=count + lines.changed, more=more or others > 0 or lines.more)

    async def _found(self, project: str, end_user: str, page: PageRequest) -> Page[Inference]:
        """Return records of a person, by the name as it is kept, and as it is given: older ones keep that."""
        found = await self.inferences.list(project, page=page, where={"end_user": end_user})
        cleaned = clean_line(end_user)
        if found.items or cleaned == end_user:
            return found
        return await self.inferences.list(project, page=page, where={"end_user": cleaned})
