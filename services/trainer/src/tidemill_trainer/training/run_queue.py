"""The runs of this process that wait for a place: which is first, and which one in work gives way to it."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tidemill_core.application import Clock, Request, ResourceKey
from tidemill_core.errors import DependencyUnavailable, NotFound
from tidemill_trainer.errors import TrainingFailed
from tidemill_trainer.training.domain.run import OUT_OF_MEMORY, RunState, TrainingRun
from tidemill_trainer.training.ports import Runs
from tidemill_trainer.training.run_capacity import Need, RunCapacity


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

    queued: float
    """When it was queued, each step of priority being worth some waiting."""
    computed_s: float
    """Computing is no waiting; of one whose worker was lost it does not count, which goes on before later ones."""
    priority: int
    since: datetime
    may_give_way: bool = False

    @property
    def rank(self) -> float:
        """Where it is among those of its project, the first having the lowest."""
        return self.queued + self.computed_s


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """Which run in work, here or at another worker, stops for a waiting one, and until when no other is to."""

    by: ResourceKey
    until: datetime


@dataclass(slots=True, kw_only=True)
class RunQueue:
    """Priorities order runs within a project; between projects, places are given in turn whatever they are.

    Which run stops for a waiting one is stored with that one, so that of all workers' runs one does.
    """

    runs: Runs
    clock: Clock
    capacity: RunCapacity
    default_memory_bytes: int
    """The limit of runs whose plan sets none."""
    rules: QueueRules = field(default_factory=QueueRules)
    _waiting: dict[ResourceKey, _Place] = field(default_factory=dict)
    _in_work: dict[ResourceKey, _Place] = field(default_factory=dict)
    _given: dict[ResourceKey, _Given] = field(default_factory=dict)
    """Of waiting runs, as it was when it was read."""

    @property
    def waits(self) -> int:
        """How many runs wait for a place here."""
        return len(self._waiting)

    async def rank(self, key: ResourceKey) -> float:
        """Return where a run is among those of its project, the first having the lowest; it waits from now on.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        now = self.clock.now()
        try:
            run = await self.runs.get(key.project, key.id)
        except NotFound:
            self._expect_none(key)
            return now.timestamp()
        return self._expect(key, run).rank

    def memory_of(self, key: ResourceKey, run: TrainingRun) -> int:
        """Return the limit of a run in work: with `memory_auto` it takes what no other has, until it is estimated."""
        limit = self.limit_of(run)
        return self.capacity.enlarge(key, limit) if run.limits.memory_auto else limit

    def explained(self, run: TrainingRun, failed: TrainingFailed) -> str:
        """Return why a run failed, with what its limit comes from where that is not its own."""
        own, there = run.limits.memory_bytes or self.default_memory_bytes, self.capacity.memory_bytes
        if failed.reason != OUT_OF_MEMORY or own <= there:
            return failed.message
        return (
            f"{failed.message}; this worker's runs have {there} bytes together (TRAINER_RUN_TOTAL_MEMORY_BYTES), "
            f"fewer than the run may take ({own})"
        )

    @contextmanager
    def working(self, key: ResourceKey, run: TrainingRun) -> Iterator[None]:
        """Know that a run has a place until the end of the body."""
        self.leave(key)
        self._in_work[key] = self._place(run, since=self.clock.now())
        try:
            yield
        finally:
            del self._in_work[key]

    def leave(self, key: ResourceKey) -> None:
        """Know that a run does not wait any more."""
        self._waiting.pop(key, None)
        self._given.pop(key, None)
        self.capacity.forget(key)

    async def refresh(self) -> None:
        """Know which runs wait no more for a place here, and which do not wait for capacity.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        names = defaultdict[str, list[str]](list)
        for key in self.capacity.waiting:
            names[key.project].append(key.id)
        for project, waiting in names.items():
            runs = await self.runs.get_many(project, waiting)
            for name in waiting:
                run, key = runs.get(name), ResourceKey(project=project, id=name)
                if key not in self.capacity.waiting:  # it has begun meanwhile
                    continue
                if run is None:
                    self._expect_none(key)
                else:
                    self._expect(key, run)

    def _expect(self, key: ResourceKey, run: TrainingRun) -> _Place:
        """Know how a run waits here: for a place, or only for capacity where another worker may be computing it.

        One that is over needs nothing. It is still asked, and known: by then it may have been retried.
        """
        before = self._waiting.get(key)
        place = self._place(run, since=before.since if before else self.clock.now())
        if run.state is RunState.QUEUED:
            self._waiting[key] = place
        else:
            self.leave(key)
        self.capacity.expect(key, self._need(run) if run.is_in_work else Need(reserves=False))
        return place

    def _expect_none(self, key: ResourceKey) -> None:
        """Know that there is no such run: what asks for its place finds that, and needs nothing."""
        self.leave(key)
        self.capacity.expect(key, Need(reserves=False))

    def _need(self, run: TrainingRun) -> Need:
        """Return what a run takes: as estimated before, else its limit."""
        limit = self.limit_of(run)
        return Need(
            memory_bytes=limit if run.fit is None or self.capacity.devices else min(limit, run.fit.needed_bytes),
            devices=run.processes if self.capacity.devices else 0,
            reserves=run.state is RunState.QUEUED,
        )

    def limit_of(self, run: TrainingRun) -> int:
        """Return how much memory a run may take at this worker."""
        return min(run.limits.memory_bytes or self.default_memory_bytes, self.capacity.memory_bytes)

    async def ahead_of(self, key: ResourceKey, *, computed_s: float) -> TrainingRun | None:
        """Return the waiting run that a run in work, which has computed so long, gives way to; None if there is none.

        It is stored with that one: no other gives way to it until this one has had the time to, and that one to begin.
        """
        mine = self._in_work[key] = replace(self._in_work[key], computed_s=computed_s)
        now = self.clock.now()
        ahead = [
            (other, waiting)
            for other, waiting in self._waiting.items()
            if other.project == key.project and _is_ahead(waiting, mine) and self.capacity.fits_without(other, key)
        ]
        for other, waiting in sorted(ahead, key=lambda item: item[1].rank):
            if now - waiting.since < self.rules.waits or not self._is_the_one(key, other, waiting, now):
                continue
            if (run := await self._gives_way(key, other, now)) is not None:
                return run
        return None

    def _is_the_one(self, key: ResourceKey, other: ResourceKey, waiting: _Place, now: datetime) -> bool:
        """Whether no other run gives way to a waiting one: of those here, the last in the order does."""
        valid = {one: given for one, given in self._given.items() if now < given.until}
        if given := valid.get(other):
            return given.by == key
        mine, taken = self._in_work[key], {given.by for given in valid.values()}
        return not any(
            each.rank > mine.rank and _is_ahead(waiting, each)
            for one, each in self._in_work.items()
            if one.project == key.project and one != key and one not in taken and self.capacity.fits_without(other, one)
        )

    async def _gives_way(self, key: ResourceKey, other: ResourceKey, now: datetime) -> TrainingRun | None:
        """Return a waiting run that this one gives way to; None if it waits no more, or another run does."""
        until = now + self.rules.checkpoint + self.rules.waits

        def give(run: TrainingRun) -> None:
            if run.state is RunState.QUEUED:
                run.waiting = run.waiting.given(by=key.id, now=now, until=until)

        try:
            run = await self.runs.get(other.project, other.id)
            if run.state is RunState.QUEUED and not run.waiting.is_given(now):
                run = await self.runs.update(other.project, other.id, give, request=Request.internal())
        except NotFound:
            self._expect_none(other)
            return None
        except DependencyUnavailable:
            return None
        if other not in self.capacity.waiting:  # it has begun here meanwhile
            return None
        if run.state is not RunState.QUEUED:
            self._expect(other, run)
            return None
        by = ResourceKey(project=other.project, id=run.waiting.given_by)
        self._given[other] = _Given(by=by, until=run.waiting.given_until or now)
        return run if by == key else None

    def _place(self, run: TrainingRun, *, since: datetime) -> _Place:
        queued = run.waiting.since or run.create_time or since
        return _Place(
            queued=queued.timestamp() - run.priority * self.rules.age.total_seconds(),
            computed_s=run.progress.seconds if run.state is RunState.QUEUED else 0.0,
            priority=run.priority,
            since=since,
            may_give_way=run.preemptions < self.rules.max_preemptions,
        )


def _is_ahead(waiting: _Place, mine: _Place) -> bool:
    return mine.may_give_way and waiting.priority > mine.priority and waiting.rank < mine.rank
