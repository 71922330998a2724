"""Stores of profiles in memory, as strict as those on MongoDB; they pass the same suite."""

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TypeVar

from tidemill_core.application import Clock, ResourceKey
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.limits import Limits
from tidemill_ingest.processes import Processes, Refused
from tidemill_ingest.profiles.count_versions import CountVersions, ExpectVersions
from tidemill_ingest.profiles.domain.period import Period
from tidemill_ingest.profiles.domain.sketch import Distinct, Distribution, Sketch
from tidemill_ingest.profiles.domain.versions import NewVersion, Outcome
from tidemill_ingest.profiles.ports import BATCH, StoredSketch
from tidemill_ingest.projects import Projects
from tidemill_testkit.stores import InMemoryAggregates

Day = tuple[str, str, date]
R = TypeVar("R")


@dataclass
class NewVersionsHere:
    """Implements `ports.NewVersions`."""

    stored: dict[tuple[str, str], tuple[datetime, NewVersion]] = field(default_factory=dict)

    async def add(self, project: str, version: NewVersion) -> None:
        self.stored.setdefault((project, version.name), (version.stored_at, version))

    async def due(self, project: str, source: str, *, now: datetime) -> Sequence[NewVersion]:
        found = [
            (due, name, version)
            for (of_project, name), (due, version) in self.stored.items()
            if of_project == project and version.source == source and due <= now
        ]
        return [version for _, _, version in sorted(found, key=lambda each: each[:2])][:BATCH]

    async def postpone(self, project: str, versions: Sequence[NewVersion], *, due: datetime) -> None:
        for each in versions:
            if (project, each.name) in self.stored:
                self.stored[project, each.name] = due, each

    async def remove(self, project: str, versions: Sequence[NewVersion]) -> None:
        for each in versions:
            self.stored.pop((project, each.name), None)


def copied(sketch: Sketch) -> Sketch:
    """Return what is read of a sketch that was stored."""
    return Sketch(
        count=sketch.count,
        categories={column: dict(counts) for column, counts in sketch.categories.items()},
        numbers={name: Distribution(each.to_bytes(), total=each.total) for name, each in sketch.numbers.items()},
        texts=Distinct(sketch.texts.to_bytes()),
        documents=Distinct(sketch.documents.to_bytes()),
    )


@dataclass
class SketchesHere:
    """Implements `ports.Sketches`."""

    stored: dict[Day, StoredSketch] = field(default_factory=dict)

    async def get(self, project: str, source: str, day: date) -> StoredSketch:
        found = self.stored.get((project, source, day)) or StoredSketch()
        return StoredSketch(sketch=copied(found.sketch), version=found.version, counted=found.counted)

    async def save(self, project: str, source: str, day: date, stored: StoredSketch) -> bool:
        known = self.stored.get((project, source, day))
        if stored.version != (known.version if known else 0):
            return False
        stored.version += 1
        new = StoredSketch(sketch=copied(stored.sketch), version=stored.version, counted=stored.counted)
        self.stored[project, source, day] = new
        return True

    async def finish(self, project: str, source: str, day: date, *, version: int) -> None:
        known = self.stored.get((project, source, day))
        if known is not None and known.version == version:
            known.counted = frozenset()

    async def of_period(self, project: str, source: str, period: Period) -> Callable[[], Sequence[tuple[date, Sketch]]]:
        found = sorted(
            (day, each.sketch)
            for (of_project, of_source, day), each in self.stored.items()
            if (of_project, of_source) == (project, source) and period.first <= day <= period.last
        )
        return lambda: [(day, copied(sketch)) for day, sketch in found]

    async def remove_before(self, project: str, source: str, day: date) -> None:
        for key in [key for key in self.stored if key[:2] == (project, source) and key[2] < day]:
            del self.stored[key]


class OutcomesHere:
    """Implements `ports.Outcomes` on the documents in memory."""

    def __init__(self, documents: InMemoryAggregates[Document]) -> None:
        self._documents = documents

    async def of(self, project: str, documents: Sequence[str]) -> Mapping[str, Outcome]:
        found = await self._documents.get_many(project, documents)
        return {
            f"{document.id}/{version.text_name}": Outcome(
                saved_at=version.create_time,
                withheld=tuple(rule.reason for rule in version.withheld),
                exact=version.duplicate.exact if version.duplicate else None,
            )
            for document in found.values()
            for version in document.versions
        }


class ProcessesHere(Processes):
    """Runs work in this process; what goes to another one and comes back is copied as it would be."""

    def __init__(self) -> None:
        """Start none."""
        self.together: list[int] = []

    @property
    def share(self) -> int:
        return 1

    async def run_together(
        self, project: str, work: Callable[..., Sequence[R | Refused]], *arguments: object
    ) -> Sequence[R | Refused] | None:
        found = await self.run(project, work, *arguments)
        self.together.append(len(found))
        return found

    async def run(self, project: str, work: Callable[..., R], *arguments: object) -> R:
        assert project
        copied_arguments = pickle.loads(pickle.dumps(arguments))  # noqa: S301 - our own
        found: R = pickle.loads(pickle.dumps(work(*copied_arguments)))  # noqa: S301 - ditto
        return found


@dataclass
class ProfilesHere:
    """All of it, and the sources that are to be counted."""

    versions: NewVersionsHere = field(default_factory=NewVersionsHere)
    sketches: SketchesHere = field(default_factory=SketchesHere)
    to_count: list[ResourceKey] = field(default_factory=list)

    @property
    def expect(self) -> ExpectVersions:
        return ExpectVersions(versions=self.versions, enqueue=self.to_count.append)

    def counting(
        self,
        documents: InMemoryAggregates[Document],
        *,
        clock: Clock,
        limits: Limits,
        projects: Projects,
        keep_days: int,
    ) -> CountVersions:
        """Return what the controller of profiles runs."""
        return CountVersions(
            versions=self.versions,
            sketches=self.sketches,
            outcomes=OutcomesHere(documents),
            clock=clock,
            limits=limits,
            projects=projects,
            keep_days=keep_days,
        )
