"""What profiles need from outside, and what other features need of profiles."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol

from tidemill_core.application import ResourceKey
from tidemill_ingest.profiles.domain.period import Period
from tidemill_ingest.profiles.domain.sketch import Sketch
from tidemill_ingest.profiles.domain.versions import NewVersion, Outcome

BATCH = 200
"""Versions that are counted by one write."""


def ignored(key: ResourceKey) -> None:
    """Leave what is to be counted to the resync."""


class NewVersions(Protocol):
    """Versions that are to be counted, each once; whatever their number, a call costs the same."""

    async def add(self, project: str, version: NewVersion) -> None:
        """Store one before it is saved; one that is there already stays as it is."""
        ...

    async def due(self, project: str, source: str, *, now: datetime) -> Sequence[NewVersion]:
        """Return at most `BATCH` versions of a source that are due, those first that are due longest."""
        ...

    async def postpone(self, project: str, versions: Sequence[NewVersion], *, due: datetime) -> None:
        """Let them be due then."""
        ...

    async def remove(self, project: str, versions: Sequence[NewVersion]) -> None:
        """Forget them; what is not there is no error."""
        ...


@dataclass(slots=True, kw_only=True)
class StoredSketch:
    """The sketch of one day, and what it was given last."""

    sketch: Sketch = field(default_factory=Sketch)
    version: int = 0
    """0: not stored yet."""
    counted: frozenset[str] = frozenset()
    """Names of the versions that were counted by the last write, until these are forgotten."""


class Sketches(Protocol):
    """The sketches of sources by day."""

    async def get(self, project: str, source: str, day: date) -> StoredSketch:
        """Return the one of a day, an empty one where there is none."""
        ...

    async def save(self, project: str, source: str, day: date, stored: StoredSketch) -> bool:
        """Store it in place of the version that was read; return False where that is not the stored one any more."""
        ...

    async def finish(self, project: str, source: str, day: date, *, version: int) -> None:
        """Forget the names of what was counted by a version's write."""
        ...

    async def of_period(self, project: str, source: str, period: Period) -> Callable[[], Sequence[tuple[date, Sketch]]]:
        """Return what decodes the sketches of the period, oldest first: work that is for a thread."""
        ...

    async def remove_before(self, project: str, source: str, day: date) -> None:
        """Remove the sketches of earlier days."""
        ...


class Outcomes(Protocol):
    """What became of versions."""

    async def of(self, project: str, documents: Sequence[str]) -> Mapping[str, Outcome]:
        """Return the outcomes of all versions of some documents, by `NewVersion.name`."""
        ...


ExampleLabels = Mapping[str, Sequence[str]]
"""What reviewers agreed on of examples, by id, such as `quality.verdict=good`."""


class CountExamples(Protocol):
    """Counts the examples of a dataset version. CPU work: it never runs on the event loop."""

    async def __call__(self, project: str, parts: Mapping[str, bytes], labels: ExampleLabels, /) -> Sketch:
        """Return what the JSON lines of its parts, by split, say together.

        Raises:
            DocumentRefused: that takes too much work.

        """
        ...


class CountNewVersion(Protocol):
    """What a feature calls that stores versions."""

    async def expect(self, project: str, version: NewVersion) -> None:
        """Remember a version that is about to be saved: it is counted if it was, and not otherwise."""
        ...

    def saved(self, project: str, source: str) -> None:
        """Have a source's versions counted soon."""
        ...
