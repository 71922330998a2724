"""The runs of this process that wait for a place: which is first, and which one in work gives way to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tidemill_core.application import Clock, ResourceKey
from tidemill_core.errors import DependencyUnavailable, NotFound
from tidemill_trainer.training.domain.run import RunState, TrainingRun
from tidemill_trainer.training.ports import Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRules:
    """How priorities order the runs of a project."""

    age: timedelta = timedelta(hours=1)
    """How much waiting one step of priority is worth: no run waits for ever behind higher ones."""
    waits: timedelta = timedelta(seconds=30)
    """How long a run waits for a place, here or at another worker, before one of lower priority gives way."""
    checkpoint: timedelta = timedelta(minutes=5)
    """How long one that gives way goes on until its next checkpoint."""
    max_preemptions: int = 3
    """How often one run gives way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A run that waits for a place, or has one."""

    rank: float
    priority: int
    since: datetime
    may_give_way: bool = False


@dataclass(slots=True, kw_only=True)
class RunQueue:
    """Priorities order runs within a project; between projects, places are given in turn whatever they are."""

    runs: Runs
    clock: Clock
    rules: QueueRules = field(default_factory=QueueRules)
    _waiting: dict[ResourceKey, _Place] = field(default_factory=dict)
    _in_work: dict[ResourceKey, _Place] = field(default_factory=dict)
    _giving_way: dict[ResourceKey, ResourceKey] = field(default_factory=dict)
    """Waiting runs, and which one in work gives way to each."""

    async def rank(self, key: ResourceKey) -> float:
        """Return where a run is among those of its project, the first having the lowest; it waits from now on."""
        now = self.clock.now()
        try:
            run = await self.runs.get(key.project, key.id)
        except (NotFound, DependencyUnavailable):
            return now.timestamp()
        before = self._waiting.get(key)
        place = self._place(run, since=before.since if before else now)
        if run.state is RunState.QUEUED:
            self._waiting[key] = place
        return place.rank

    @contextmanager
    def working(self, key: ResourceKey, run: TrainingRun) -> Iterator[None]:
        """Know that a run has a place until the end of the body."""
        self.leave(key)
        self._in_work[key] = self._place(run, since=self.clock.now())
        try:
            yield
        finally:
            del self._in_work[key]
            self._giving_way = {to: one for to, one in self._giving_way.items() if one != key}

    def leave(self, key: ResourceKey) -> None:
        """Know that a run does not wait any more."""
        self._waiting.pop(key, None)
        self._giving_way.pop(key, None)

    async def ahead_of(self, key: ResourceKey) -> TrainingRun | None:
        """Return the waiting run that a run in work gives way to, None if there is none."""
        mine, now = self._in_work[key], self.clock.now()
        for other, waiting in sorted(self._waiting.items(), key=lambda item: item[1].rank):
            if other.project != key.project or not _is_ahead(waiting, mine):
                continue
            if now - waiting.since < self.rules.waits or self._another_gives_way(key, other, waiting):
                continue
            if (run := await self._still_queued(other)) is not None:
                self._giving_way[other] = key
                return run
        return None

    def _another_gives_way(self, key: ResourceKey, other: ResourceKey, waiting: _Place) -> bool:
        """Whether another run gives way to a waiting one: of several, the last in the order does."""
        if (giving := self._giving_way.get(other)) is not None:
            return giving != key
        mine = self._in_work[key]
        return any(
            each.rank > mine.rank and _is_ahead(waiting, each)
            for one, each in self._in_work.items()
            if one.project == key.project and one != key and one not in self._giving_way.values()
        )

    async def _still_queued(self, key: ResourceKey) -> TrainingRun | None:
        """Return a waiting run, which another worker may have taken meanwhile."""
        try:
            run = await self.runs.get(key.project, key.id)
        except NotFound:
            self.leave(key)
            return None
        except DependencyUnavailable:
            return None
        if run.state is RunState.QUEUED:
            return run
        self.leave(key)
        return None

    def _place(self, run: TrainingRun, *, since: datetime) -> _Place:
        queued = run.create_time or since
        return _Place(
            rank=queued.timestamp() - run.priority * self.rules.age.total_seconds(),
            priority=run.priority,
            since=since,
            may_give_way=run.preemptions < self.rules.max_preemptions,
        )


def _is_ahead(waiting: _Place, mine: _Place) -> bool:
    return mine.may_give_way and waiting.priority > mine.priority and waiting.rank < mine.rank
