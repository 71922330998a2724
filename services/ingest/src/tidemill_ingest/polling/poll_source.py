"""Bring the documents of a source to what is there where it is polled."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from tidemill_core.application import Caller, Clock, Request, Requeue, ResourceKey, derived_id
from tidemill_core.errors import (
    Conflict,
    DeadlineExceeded,
    DependencyUnavailable,
    Internal,
    NotFound,
    PreconditionFailed,
    RateLimited,
    isolated,
)
from tidemill_ingest.errors import FileUnreadable, OriginFailed, PollTaken, ProjectDeleted
from tidemill_ingest.metrics import POLLED_OBJECTS, POLLS
from tidemill_ingest.polling.domain.objects import (
    MAX_ATTEMPTS,
    RETRIED,
    Comparison,
    ListedObject,
    Listing,
    PolledObject,
    failed,
    not_as_listed,
)
from tidemill_ingest.polling.domain.origin import Polling
from tidemill_ingest.polling.domain.poll import PollCounts, SourcePoll
from tidemill_ingest.polling.ports import Change, OpenOrigin, Origins, PolledObjects, SourcePolls, Submissions
from tidemill_ingest.projects import Projects
from tidemill_ingest.sources.domain import Source
from tidemill_ingest.sources.ports import Sources

_MAX_CONCURRENT = 4
"""Files of one source that are fetched at the same time."""
_MAX_REMOVED = 1000
_MAX_MESSAGE = 500
_BROKEN_AGAIN = timedelta(seconds=30)
"""When files are tried again whose processing broke, which may be the machine's doing."""

_TRANSIENT = (Conflict, DeadlineExceeded, DependencyUnavailable, RateLimited)
"""What says nothing about a source: the controller tries again soon."""
_BROKE = "polling fails in ingest itself, whose log has the error: have the operator look; it is tried again later"

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class _Work:
    """A poll under way: of a source, by one worker, until a time."""

    caller: Caller
    source: Source
    polling: Polling
    poll: SourcePoll
    epoch: int
    until: datetime
    """When the slice ends; it begins after the listing, so that each does something."""
    conversion: str
    known: str
    """The position at which nothing is to be done."""
    done: PollCounts = field(default_factory=PollCounts)
    to_retry: bool = False
    """Files were refused that the next poll tries again, whatever the position is."""

    @property
    def rules(self) -> str:
        """What documents would be masked and judged by."""
        return rules_of(self.source)

    @property
    def refusing(self) -> str:
        """What refusals go by."""
        return derived_id(self.rules, self.conversion)

    def change(self, listed: ListedObject | None, key: str, *, now: datetime) -> Change:
        """Return what is done about a file: once in this poll, and after what was done about it before."""
        version = listed.version if listed else "deleted"
        name = derived_id(
            self.source.project, self.source.id, str(self.poll.number), key, version, self.rules if listed else ""
        )
        return Change(id=name, source=self.source, key=key, revision=int(now.timestamp() * 1000))


@dataclass(frozen=True, slots=True, kw_only=True)
class PollSource:
    """Lists the whole origin, compares it with what is known, and then submits what changed and deletes what is gone.

    A file is recorded after its document was saved, so that a crash repeats what has one effect by its request id. What
    is gone is deleted last, and only by a listing that came to its end; too much of it fails the poll instead. After
    `slice` the rest is left to the next reconciliation, which lists again.
    """

    sources: Sources
    polls: SourcePolls
    objects: PolledObjects
    origins: Origins
    submissions: Submissions
    projects: Projects
    clock: Clock
    conversion: str
    """The digest of what can be converted here, and within which limits."""
    slice: timedelta = timedelta(minutes=5)

    async def __call__(self, name: ResourceKey, *, epoch: int) -> Requeue | None:
        """Poll a source that is due; `Requeue` where the poll is to go on."""
        source = await self._declared(name)
        if source is None or source.polling is None:
            await self._forget(name)
            return None
        work = await self._begun(source, source.polling, epoch)
        return await self._polled(work) if work else None

    async def _polled(self, work: _Work) -> Requeue | None:
        try:
            with isolated():
                listing, again = await self._listed(work)
        except ProjectDeleted:
            return None
        except PreconditionFailed as error:  # of the origin, or of a model that masks names: of this source alone
            await self._failed(work, reason=error.reason, message=error.message)
            return None
        except _TRANSIENT:
            raise
        except Exception:  # what one source's files do to ingest is no reason to poll it again at once
            await self._failed(work, reason="POLL_FAILED", message=_BROKE)
            raise
        if again is not None:
            await self._update(work, lambda poll: poll.advance(work.done))
            return Requeue(after=again)
        await self._finished(work, listing)
        return None

    async def _listed(self, work: _Work) -> tuple[Listing | None, timedelta | None]:
        """Return what is there, and when to go on with what is left to do about it."""
        async with self.origins.open(work.source.project, work.polling) as origin:
            listing = await origin.listing(work.known)
            return listing, await self._reconcile(work, origin, listing) if listing else None

    async def _declared(self, name: ResourceKey) -> Source | None:
        """Return the source, with its poll due if another one was declared; None where it is deleted."""
        try:
            source = await self.sources.get(name.project, name.id)
        except NotFound:
            return None
        polling, now = source.polling, self.clock.now()
        if polling is not None:
            fresh = SourcePoll(id=source.id, project=source.project)
            await self.polls.upsert(fresh, lambda poll: poll.declare(polling, now=now), request=Request.internal())
        if not source.polling_changed:
            return source

        def declared(each: Source) -> None:
            each.polling_changed = each.polling_changed and each.polling != polling

        return await self.sources.update(name.project, name.id, declared, request=Request.internal())

    async def _forget(self, name: ResourceKey) -> None:
        """Remove what is known of a source that is not polled any more; its documents stay."""
        await self.objects.remove_all(name.project, name.id)
        try:
            await self.polls.update(name.project, name.id, SourcePoll.forget, request=Request.internal())
        except NotFound:
            return

    async def _begun(self, source: Source, polling: Polling, epoch: int) -> _Work | None:
        now, due, known = self.clock.now(), False, ""

        def begin(poll: SourcePoll) -> None:
            nonlocal due, known
            due, known = poll.is_due(now), poll.known_position(derived_id(rules_of(source), self.conversion))
            if poll.epoch > epoch:
                raise PollTaken(source.id)
            if due:
                poll.begin(epoch=epoch, now=now)

        poll = await self.polls.update(source.project, source.id, begin, request=Request.internal())
        if not due:
            return None
        return _Work(
            caller=Caller.of_service(source.project, "ingest"),
            source=source,
            polling=polling,
            poll=poll,
            epoch=epoch,
            until=now,
            conversion=self.conversion,
            known=known,
            done=poll.under_way or PollCounts(),
        )

    async def _reconcile(self, work: _Work, origin: OpenOrigin, listing: Listing) -> timedelta | None:
        """Submit what changed, then delete what is gone; return when to go on with what is left."""
        comparison = await self._compared(work, listing)
        gone = len(comparison.gone)
        if not work.polling.may_delete(gone, of=comparison.known):
            text = (
                f"{gone} of {comparison.known} known files are gone, which is more than max_deleted_share allows: none "
                "was deleted. Check the origin; to have them deleted, set max_deleted_share of the source to 1"
            )
            raise OriginFailed(reason="MASS_DELETION", message=text)
        work.until = self.clock.now() + self.slice
        again = comparison.again(work.poll.number)
        work.to_retry = bool(again)
        for batch in _batches(await asyncio.to_thread(comparison.changed)):
            if await self._is_over(work):
                return timedelta(0)
            await self._submit(work, origin, batch, comparison)
        for keys in _batches(comparison.gone):
            if await self._is_over(work):
                return timedelta(0)
            await self._delete(work, keys)
        for keys in _batches(comparison.renamed, _MAX_REMOVED):
            await self.objects.remove(work.source.project, work.source.id, keys)
        for batch in _batches(again):
            if await self._is_over(work):
                break  # a poll is whole without them
            await self._submit(work, origin, batch, comparison)
        return _BROKEN_AGAIN if comparison.attempts else None

    async def _is_over(self, work: _Work) -> bool:
        """Return whether the time is up, or the source is not what it was."""
        if self.clock.now() >= work.until:
            return True
        source = (await self.sources.get_many(work.source.project, [work.source.id])).get(work.source.id)
        return source is None or source.polling != work.polling or rules_of(source) != work.rules

    async def _compared(self, work: _Work, listing: Listing) -> Comparison:
        comparison = await asyncio.to_thread(Comparison.of, listing.objects, rules=work.rules, refusing=work.refusing)
        after = ""
        while page := await self.objects.page(work.source.project, work.source.id, after=after):
            comparison.add(page)
            after = page[-1].key
        return comparison

    async def _submit(
        self, work: _Work, origin: OpenOrigin, batch: Sequence[ListedObject], comparison: Comparison
    ) -> None:
        """Make documents of files, together, and record what became of each."""
        batch = await self._without_deleted(work, batch, comparison)
        outcomes, error = await _together([self._outcome(work, origin, each, comparison) for each in batch])
        broken = [each for each in outcomes if each.attempts and not each.refused]
        comparison.attempts.update({each.key: each.attempts for each in broken})
        refused = sum(1 for each in outcomes if each.refused and not each.attempts)
        work.to_retry |= any(each.refused in RETRIED for each in outcomes)
        changed = sum(1 for each in outcomes if not each.refused and not each.attempts)
        await self._record(work, outcomes)
        work.done = work.done.plus(changed=changed, refused=refused)
        POLLED_OBJECTS.labels("changed").inc(changed)
        POLLED_OBJECTS.labels("refused").inc(refused)
        if error is not None:
            raise error

    async def _without_deleted(
        self, work: _Work, batch: Sequence[ListedObject], comparison: Comparison
    ) -> Sequence[ListedObject]:
        """Leave out what was deleted by itself, and has the version that it had then: other rules do not restore it."""
        keys = [each.key for each in batch if each.key in comparison.judged_anew]
        if not keys:
            return batch
        deleted = await self.submissions.deleted(work.caller, work.source.id, keys)
        left_out = [each for each in batch if each.key in deleted]
        await self._record(
            work, [PolledObject(key=each.key, version=each.version, rules=work.rules) for each in left_out]
        )
        return [each for each in batch if each.key not in deleted]

    async def _record(self, work: _Work, outcomes: Sequence[PolledObject]) -> None:
        if self.projects.deleted(work.source.project):
            raise ProjectDeleted(work.source.project)
        rows = [replace(each, rules=work.refusing) if each.refused else each for each in outcomes]
        await self.objects.put(work.source.project, work.source.id, rows)

    async def _outcome(
        self, work: _Work, origin: OpenOrigin, listed: ListedObject, comparison: Comparison
    ) -> PolledObject:
        """Make a document of a file; one that changed meanwhile is left to the next poll."""
        change = work.change(listed, listed.key, now=self.clock.now())
        attempts = comparison.attempts.pop(listed.key, 0)
        try:
            size = listed.size
            refused = "" if size is None else await self.submissions.refuse_size(work.caller, change, size)
            if not refused:
                content = await origin.read(listed)
                if content is None:
                    before = MAX_ATTEMPTS if listed.key in comparison.retried else attempts
                    return not_as_listed(listed, work.rules, attempts=before)
                refused = await self.submissions.upsert(work.caller, change, content)
        except FileUnreadable as error:
            refused = error.reason
            if listed.key not in comparison.retried:
                await self.submissions.refuse_file(work.caller, change, error)
        except Internal:
            return failed(listed, work.rules, attempts=attempts)
        return PolledObject(key=listed.key, version=listed.version, rules=work.rules, refused=refused)

    async def _delete(self, work: _Work, keys: Sequence[str]) -> None:
        changes = [work.change(None, key, now=self.clock.now()) for key in keys]
        _, error = await _together([self.submissions.delete(work.caller, each) for each in changes])
        if error is not None:
            raise error
        await self.objects.remove(work.source.project, work.source.id, keys)
        work.done = work.done.plus(deleted=len(keys))
        POLLED_OBJECTS.labels("deleted").inc(len(keys))

    async def _finished(self, work: _Work, listing: Listing | None) -> None:
        now, last = self.clock.now(), work.poll.last
        found, skipped = (len(listing.objects), listing.skipped) if listing else (last.found, last.skipped)
        done = replace(work.done, found=found, skipped=skipped)
        position = "" if work.to_retry else listing.position if listing else work.known
        await self._update(
            work, lambda poll: poll.finish(done, work.polling, position=position, rules=work.refusing, now=now)
        )
        POLLS.labels("finished").inc()

    async def _failed(self, work: _Work, *, reason: str, message: str) -> None:
        now = self.clock.now()

        def failed_(poll: SourcePoll) -> None:
            poll.advance(work.done)
            poll.fail(reason, message[:_MAX_MESSAGE], work.polling, now=now)

        await self._update(work, failed_)
        POLLS.labels("failed").inc()

    async def _update(self, work: _Work, change: Callable[[SourcePoll], None]) -> None:
        """Change the poll, unless another worker has it by now."""

        def fenced(poll: SourcePoll) -> None:
            if poll.epoch != work.epoch:
                raise PollTaken(work.source.id)
            change(poll)

        await self.polls.update(work.source.project, work.source.id, fenced, request=Request.internal())


def rules_of(source: Source) -> str:
    """Return what identifies the rules by which a source's documents are masked and judged."""
    return derived_id(*source.masking.rules, source.quality.digest)


def _batches(items: Sequence[T], size: int = _MAX_CONCURRENT) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


async def _together(calls: Sequence[Awaitable[T]]) -> tuple[Sequence[T], Exception | None]:
    """Return what the calls returned, which run at the same time, and the first error of one that failed."""
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    errors = [each for each in outcomes if isinstance(each, BaseException)]
    for each in errors:
        if not isinstance(each, Exception):
            raise each
    return [each for each in outcomes if not isinstance(each, BaseException)], next(
        (each for each in errors if isinstance(each, Exception)), None
    )
