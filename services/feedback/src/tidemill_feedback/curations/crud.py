"""Use cases: create, get, list, update and delete curations."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, replace
from typing import Final

from tidemill_core import resources
from tidemill_core.application import Caller, Clock, Page, PageRequest
from tidemill_core.resources import Write
from tidemill_feedback.curations.domain.curation import Curation, Rule
from tidemill_feedback.curations.domain.ledger import Counts, Row
from tidemill_feedback.curations.ports import CurationStore, Enqueue, Ledger

CHANGEABLE: Final = frozenset(each.name for each in fields(Rule))
_SELECTS_NOTHING: Final = frozenset({"paused", "labels"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A curation, and what was last counted."""

    curation: Curation
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class CurationCrud:
    """Emits nothing. A changed curation is enqueued: its controller counts by the new rule, or drops what was counted.

    A deleted curation's id may be taken again; its completions go on counting.
    """

    curations: CurationStore
    ledger: Ledger
    clock: Clock
    enqueue: Enqueue
    at_most: int
    """How many examples a batch may have."""

    async def get(self, caller: Caller, curation_id: str) -> Overview:
        """Return one curation.

        Raises:
            CurationNotFound: the caller's project has none with this id.

        """
        return await self._overview(await self.curations.get(caller.project, curation_id))

    async def list(self, caller: Caller, page: PageRequest) -> Page[Overview]:
        """Return a page."""
        found = await self.curations.list(caller.project, page=page)
        return Page(items=await self._overviews(found.items), next_token=found.next_token)

    async def create(self, caller: Caller, curation_id: str, rule: Rule, write: Write) -> Overview:
        """Return the curation as created, or as it would be; corrections that are there already count too.

        Raises:
            CurationExists: the id is taken.
            InvalidInput: something in the rule is wrong.

        """
        rule.check(curation_id, at_most=self.at_most)
        now = self.clock.now()
        fresh = Curation(id=curation_id, project=caller.project, rule=rule, since=now)

        def begin(curation: Curation) -> None:
            curation.begin(rule, now=now)
            curation.add_author(caller.proven_subject)

        created = await resources.create(self.curations, fresh, write, begin=begin)
        return await self._enqueued(created, write)

    async def update(
        self, caller: Caller, curation_id: str, rule: Rule, paths: AbstractSet[str], write: Write
    ) -> Overview:
        """Return the curation with the parts of the rule that `paths` name, or as it would be.

        Raises:
            CurationNotFound: the caller's project has none with this id.
            Conflict: it changed since the etag.
            InvalidInput: something in the rule is wrong.

        """

        def change(curation: Curation) -> None:
            changed = replace(curation.rule, **{name: getattr(rule, name) for name in paths})
            changed.check(curation.id, at_most=self.at_most)
            curation.configure(changed)
            if paths - _SELECTS_NOTHING:
                curation.add_author(caller.proven_subject)

        updated = await resources.update(self.curations, caller.project, curation_id, change, write)
        return await self._enqueued(updated, write)

    async def delete(self, caller: Caller, curation_id: str, write: Write) -> Overview:
        """Return the curation as deleted: it completes no more, and the feedback stays.

        Raises:
            CurationNotFound: the caller's project has none with this id.
            Conflict: it changed since the etag.

        """
        deleted = await resources.delete(self.curations, caller.project, curation_id, write)
        return await self._enqueued(deleted, write)

    async def refused(self, caller: Caller, curation_id: str, page: PageRequest) -> Page[Row]:
        """Return a page of the corrections that were no examples when all were counted last, without their text.

        Raises:
            CurationNotFound: the caller's project has none with this id.
            InvalidInput: the page is not usable.

        """
        return await self.ledger.refused((await self.curations.get(caller.project, curation_id)).ref, page)

    async def _enqueued(self, curation: Curation, write: Write) -> Overview:
        if not write.validate_only:
            self.enqueue(curation.ref)
        return await self._overview(curation)

    async def _overview(self, curation: Curation) -> Overview:
        (overview,) = await self._overviews([curation])
        return overview

    async def _overviews(self, curations: Sequence[Curation]) -> Sequence[Overview]:
        counts = await self.ledger.counts([each.ref for each in curations])
        return [Overview(curation=each, counts=counts.get(each.ref, Counts())) for each in curations]
