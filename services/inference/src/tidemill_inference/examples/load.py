"""Make a set of examples what its dataset version is now: read, embedded, and without what was erased."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tidemill_core.application import Clock, Requeue, ResourceKey
from tidemill_core.errors import DependencyUnavailable, InvalidInput, NotFound, PreconditionFailed
from tidemill_inference.background import background
from tidemill_inference.examples.domain.example_set import Example, ExampleSet, SetState
from tidemill_inference.examples.ports import (
    DatasetVersions,
    ErasedSubjects,
    ExampleSets,
    Found,
    QuestionVectors,
    StoredExamples,
    TrainPart,
)

_BATCH = 100
"""What rag removes in one call."""
_AT_ONCE = 4
"""Questions that are embedded at once."""
_LONG = timedelta(days=365)
"""For how long rag is asked to keep a vector, which is renewed halfway: rag has its own limit."""
_SOON = timedelta(hours=1)
"""When a vector is renewed at the earliest: a rag that says no end of it is taken for one that has just ended."""
_NEVER = timedelta(days=3650)
"""When a question is tried again that the model cannot embed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveExamples:
    """Removes examples with their vectors, these first: the rows name what may still be at rag."""

    examples: StoredExamples
    vectors: QuestionVectors

    async def __call__(self, project: str, set_id: str, ids: Sequence[str], *, embedded: bool = True) -> int:
        """Return how many were removed. Raises as the stores do."""
        for start in range(0, len(ids), _BATCH):
            some = ids[start : start + _BATCH]
            if embedded:
                await self.vectors.remove(background(project), [f"{set_id}/{each}" for each in some])
            await self.examples.remove(project, set_id, some)
        return len(ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadExamples:
    """One turn of work on a set, which goes on where the last one ended, in whatever process.

    The object that the examples were read from says whether they are still those of the version: ingest writes another
    one where examples are erased. What another worker has stored of an earlier object is never shown, and removed.
    """

    sets: ExampleSets
    examples: StoredExamples
    versions: DatasetVersions
    vectors: QuestionVectors
    remove: RemoveExamples
    erased_people: ErasedSubjects
    erased_documents: ErasedSubjects
    clock: Clock
    check_every: timedelta
    unused_for: timedelta
    """After so long without a question, a set is removed."""

    async def __call__(self, key: ResourceKey, _epoch: int) -> Requeue | None:
        """Return when to go on; None where that is when the set is to be checked.

        Raises:
            DependencyUnavailable: an owner does not answer.

        """
        found = await self.sets.get(key.project, key.id)
        if found is None:
            return None
        if found.used_at + self.unused_for < self.clock.now():
            found = replace(found, state=SetState.LOADING, part="")
            await self.sets.save(found)  # a question that comes now gets none with a warning, and has it loaded again
            await self._clear(found)
            await self.sets.remove(found.project, found.id)
            return None
        try:
            found = await self._current(found)
            if found.part and await self._embed(found):
                return Requeue(after=timedelta(0))
        except (NotFound, InvalidInput, PreconditionFailed) as error:
            found = found.failed(error.reason, check_at=self._next_check())
        else:
            found = found.ready(check_at=self._next_check()) if found.part else found
        await self.sets.save(found)
        return None

    async def _current(self, found: ExampleSet) -> ExampleSet:
        """Return the set with the examples that its version has now; without any where the version is gone."""
        try:
            part = await self.versions.train_part(background(found.project), found.dataset)
        except NotFound as error:
            await self._clear(found)
            return replace(found, part="").failed(error.reason, check_at=self._next_check())
        is_same = part.content.key == found.part
        if not is_same:
            found = await self._read(found, part)
        if await self._remove_others(found) and is_same:
            found = await self._read(found, part)  # a late worker may have stored them in the place of this part's
        return found

    async def _read(self, found: ExampleSet, part: TrainPart) -> ExampleSet:
        """Store the examples of a part, without those that are erased by then: later erasures find them here."""
        project = found.project
        examples = await self._examples_of(part)
        await self.sets.save(replace(found, state=SetState.LOADING))
        await self.examples.put(found, examples, part=part.content.key)
        read = replace(found, state=SetState.LOADING, part=part.content.key)
        if erased := await self._erased(project, examples):
            await self.remove(project, found.id, sorted(erased), embedded=bool(found.embedding))
        await self.sets.save(read)
        return read

    async def _examples_of(self, part: TrainPart) -> Sequence[Example]:
        """Read a part; one that is gone was replaced meanwhile, as an erasure does, so the version is asked again.

        Raises:
            DependencyUnavailable: it is gone.

        """
        try:
            return await self.versions.read(part)
        except NotFound as error:
            message = f"the train part of {part.version} was replaced while it was read"
            raise DependencyUnavailable(message, dependency="ingest") from error

    async def _erased(self, project: str, examples: Sequence[Example]) -> set[str]:
        """Return the ids of those that have words of an erased person, or rest on an erased document."""
        people = {name for each in examples for name in each.people}
        documents = {name for each in examples for name in each.documents}
        until = dict(await self.erased_people(project, people)) if people else {}
        gone = dict(await self.erased_documents(project, documents)) if documents else {}
        return {
            each.id
            for each in examples
            if _is_before(each.observed_at, [until[name] for name in each.people if name in until])
            or _is_before(each.observed_at, [gone[name] for name in each.documents if name in gone])
        }

    async def _remove_others(self, found: ExampleSet) -> bool:
        """Remove what is of another part: erased since, or stored late by a worker that had an earlier one.

        Return whether there was any.
        """
        removed = False
        while others := await self.examples.others(found, part=found.part, limit=_BATCH):
            await self.remove(found.project, found.id, others, embedded=bool(found.embedding))
            removed = True
        return removed

    async def _embed(self, found: ExampleSet) -> bool:
        """Give some examples their vectors; return whether there may be more to do."""
        if not found.embedding:
            return False
        some = await self.examples.without_vector(found, now=self.clock.now(), limit=_BATCH)
        for start in range(0, len(some), _AT_ONCE):
            await asyncio.gather(*(self._embedded(found, each) for each in some[start : start + _AT_ONCE]))
        return len(some) == _BATCH

    async def _embedded(self, found: ExampleSet, example: Example) -> None:
        now = self.clock.now()
        until = await self.vectors.put(background(found.project), found, example, expire_time=now + _LONG)
        renew_at = max(now + (until - now) / 2, now + _SOON) if until else now + _NEVER
        if not await self.examples.embedded(found, example.id, renew_at=renew_at):  # erased meanwhile
            await self.vectors.remove(background(found.project), [found.text_id(example.id)])

    async def _clear(self, found: ExampleSet) -> None:
        await self._remove_others(replace(found, part=""))

    def _next_check(self) -> datetime:
        return self.clock.now() + self.check_every


def _is_before(moment: datetime, until: Sequence[datetime]) -> bool:
    return any(moment <= each for each in until)


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseExamples:
    """Erases examples of all sets, some at a time."""

    examples: StoredExamples
    remove: RemoveExamples

    async def of_end_user(self, project: str, end_user: str) -> int:
        """Remove some that have words of a person; return how many: 0 when none is left."""
        return await self._removed(project, await self.examples.of_end_user(project, end_user, limit=_BATCH))

    async def of_document(self, project: str, document: str) -> int:
        """Remove some that rest on a document; return how many: 0 when none is left."""
        return await self._removed(project, await self.examples.of_document(project, document, limit=_BATCH))

    async def _removed(self, project: str, found: Sequence[Found]) -> int:
        by_set = dict[str, list[str]]()
        for each in found:
            by_set.setdefault(each.set_id, []).append(each.example)
        return sum([await self.remove(project, set_id, ids) for set_id, ids in by_set.items()])
