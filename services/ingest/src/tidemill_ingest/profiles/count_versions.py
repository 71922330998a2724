"""Count stored versions, each once: also where the process ends at any point, or two do it at the same time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from tidemill_core.application import Clock, Requeue, ResourceKey
from tidemill_ingest.limits import Limits
from tidemill_ingest.profiles.domain.sketch import Sketch
from tidemill_ingest.profiles.domain.versions import NewVersion
from tidemill_ingest.profiles.ports import NewVersions, Outcomes, Sketches, ignored
from tidemill_ingest.projects import Projects

_AGAIN = timedelta(seconds=30)
"""When a version is searched for again that is not saved yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectVersions:
    """Implements `ports.CountNewVersion`."""

    versions: NewVersions
    enqueue: Callable[[ResourceKey], None] = ignored

    async def expect(self, project: str, version: NewVersion) -> None:
        """See `CountNewVersion.expect`."""
        await self.versions.add(project, version)

    def saved(self, project: str, source: str) -> None:
        """See `CountNewVersion.saved`."""
        self.enqueue(ResourceKey(project=project, id=source))


class ExpectNothing:
    """Implements `ports.CountNewVersion` where no profiles are kept."""

    async def expect(self, project: str, version: NewVersion) -> None:
        """See `CountNewVersion.expect`."""

    def saved(self, project: str, source: str) -> None:
        """See `CountNewVersion.saved`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountVersions:
    """Adds the versions of a source to the sketch of their day.

    The write that counts versions names them, and replaces exactly the sketch that was read. Only then they are
    forgotten, and after that their names. So the next worker, after a kill or beside this one, finds a version
    either not counted, or named, or not at all: the sketch is read before the versions are.
    """

    versions: NewVersions
    sketches: Sketches
    outcomes: Outcomes
    clock: Clock
    limits: Limits
    projects: Projects
    keep_days: int

    async def __call__(self, project: str, source: str) -> Requeue | None:
        """Count what is due; what is not saved yet is due again later.

        Of a deleted project what is due is forgotten: a process has stored it that slept through the erasure.
        """
        while found := await self.versions.due(project, source, now=self.clock.now()):
            if self.projects.deleted(project):
                if self.projects.spares(project):
                    return None
                await self.versions.remove(project, found)
            elif not await self._count(project, source, found[0].day):
                return Requeue()
        return None

    async def _count(self, project: str, source: str, day: date) -> bool:
        """Count what is due of one day; return False where another process counts."""
        stored = await self.sketches.get(project, source, day)
        found = await self.versions.due(project, source, now=self.clock.now())
        due = [each for each in found if each.day == day]
        if before := [each for each in due if each.name in stored.counted]:
            await self.versions.remove(project, before)
            due = [each for each in due if each.name not in stored.counted]
        saved = await self._saved(project, due, stored.sketch)
        if saved:
            is_new = stored.version == 0
            stored.counted = frozenset(each.name for each in saved)
            if not await self.sketches.save(project, source, day, stored):
                return False
            await self.versions.remove(project, saved)
            await self.sketches.finish(project, source, day, version=stored.version)
            if is_new:
                await self.sketches.remove_before(project, source, day - timedelta(days=self.keep_days))
        return True

    async def _saved(self, project: str, due: Sequence[NewVersion], sketch: Sketch) -> Sequence[NewVersion]:
        """Add to the sketch what was saved, and return it; the rest waits, or is forgotten if it cannot be any more."""
        outcomes = await self.outcomes.of(project, sorted({each.document for each in due})) if due else {}
        now, saved, waiting, gone = self.clock.now(), list[NewVersion](), list[NewVersion](), list[NewVersion]()
        for version in due:
            outcome = outcomes.get(version.name)
            # An earlier version with this text is that of a request that was answered before, and is counted.
            if outcome is not None and outcome.saved_at >= version.stored_at:
                sketch.add(version, outcome)
                saved.append(version)
            elif outcome is not None or version.stored_at + self.limits.unsaved_after < now:
                gone.append(version)
            else:
                waiting.append(version)
        if waiting:
            await self.versions.postpone(project, waiting, due=now + _AGAIN)
        if gone:
            await self.versions.remove(project, gone)
        return saved
