"""Places that many need at once: given fairly by project, then by end user, to those who wait a bounded time.

Max-min fairness over the places that are held (Bertsekas and Gallager, Data Networks, 6.5.2): a place that is given
back goes to the waiting project that holds the fewest by its weight, there to the end user with the fewest, there to
the longest waiting. One that stays below its share so waits for the next place, however many of another project wait.
"""

import asyncio
import collections
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from prometheus_client import Counter, Gauge, Histogram

from tidemill_core.errors import RateLimited

_SMOOTHING = 0.1
"""Of the average of how long a place is held (exponentially weighted)."""
_PAUSE_S = 1.0
"""After which a refused caller comes again, where no place was given back yet."""


WAITING = Gauge("tidemill_queue_waiting", "Requests that wait for a place in this process.", ["places"])
WAITED = Histogram("tidemill_queue_wait_seconds", "How long requests waited for a place.", ["places"])
REFUSED = Counter("tidemill_queue_refusals", "Requests that were refused because too many waited.", ["places"])


class QueueFull(RateLimited):
    """As many wait as may, or a place would not be free in time."""

    reason = "QUEUE_FULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Who needs a place. `weight` 0.5 counts a place that is held twice: such work gets half of the places."""

    project: str
    end_user: str = ""
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """How many places there are, for one project too (0: all), and who may wait for one, and for how long."""

    places: int
    of_project: int = 0
    waiting: int = 1000
    waiting_of_project: int = 500
    max_wait_s: float = 30.0


@dataclass(slots=True, kw_only=True, eq=False)
class _Waiting:
    share: Share
    place: asyncio.Future[None]


@dataclass(slots=True)
class _Line:
    """Those of one project who wait, by end user; the user that was served last comes last."""

    users: dict[str, deque[_Waiting]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.users.values()))

    def add(self, waiting: _Waiting) -> None:
        self.users.setdefault(waiting.share.end_user, deque()).append(waiting)

    def pop(self, load: Callable[[str], float]) -> _Waiting:
        user = min(self.users, key=load)
        line = self.users.pop(user)
        found = line.popleft()
        if line:
            self.users[user] = line
        return found

    def remove(self, waiting: _Waiting) -> None:
        line = self.users[waiting.share.end_user]
        line.remove(waiting)
        if not line:
            del self.users[waiting.share.end_user]


class FairQueue:
    """The places of one kind in this process, named `what` in errors; `weight` is a project's, 1 by default."""

    def __init__(self, what: str, limits: QueueLimits, *, weight: Callable[[str], float] = lambda _: 1.0) -> None:
        self._what = what
        self._limits = limits
        self._weight = weight
        self._of_project = limits.of_project or limits.places
        self._total = 0
        self._counts = collections.Counter[str]()
        self._loads: dict[tuple[str, str | None], float] = {}
        """Places held by project (None) and by end user, divided by the weight of the work."""
        self._lines: dict[str, _Line] = {}
        self._held_s = 0.0
        WAITING.labels(what).set_function(lambda: self.waiting)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._lines.values()))

    @property
    def held(self) -> int:
        """How many places are held."""
        return self._total

    @asynccontextmanager
    async def place(self, share: Share) -> AsyncIterator[float]:
        """Hold a place during the block, which gets the seconds that it waited for.

        Raises:
            QueueFull: too many wait, or none was free in time.

        """
        began = time.monotonic()
        await self._take(share)
        got = time.monotonic()
        WAITED.labels(self._what).observe(got - began)
        try:
            yield got - began
        finally:
            held_s = time.monotonic() - got
            self._held_s = held_s if not self._held_s else self._held_s + _SMOOTHING * (held_s - self._held_s)
            self._give(share)

    async def _take(self, share: Share) -> None:
        if self._may(share.project):
            self._grant(share)
            return
        self._check_queue(share)
        waiting = _Waiting(share=share, place=asyncio.get_running_loop().create_future())
        self._lines.setdefault(share.project, _Line()).add(waiting)
        try:
            async with asyncio.timeout(self._limits.max_wait_s):
                await waiting.place
        except (asyncio.CancelledError, TimeoutError) as error:
            if waiting.place.done() and not waiting.place.cancelled():
                self._give(share)
            else:
                self._forget(waiting)
            if isinstance(error, TimeoutError):
                why = f"none was free within {self._limits.max_wait_s:g} s"
                raise self._refused(why, share, limit=self._limits.max_wait_s) from error
            raise

    def _check_queue(self, share: Share) -> None:
        """Refuse at once what would wait in vain.

        Raises:
            QueueFull: too many wait, or the wait is expected to be too long.

        """
        limits, mine = self._limits, self._waiting_of(share.project)
        if mine >= limits.waiting_of_project:
            why = f"{mine} requests of this project wait, its limit"
            raise self._refused(why, share, limit=mine)
        if (waiting := self.waiting) >= limits.waiting:
            why = f"{waiting} requests wait in this process, its limit"
            raise self._refused(why, share, limit=waiting)
        if (expected_s := self._expected_s(share)) > limits.max_wait_s:
            why = f"the wait would be about {expected_s:.0f} s, and {limits.max_wait_s:g} s is the limit"
            raise self._refused(why, share, limit=limits.max_wait_s)

    def _position(self, share: Share) -> int:
        """Return the place in the queue that one more of this share would have: in turn with the other projects."""
        mine = self._waiting_of(share.project) + 1
        others = (min(mine, len(line)) for project, line in self._lines.items() if project != share.project)
        return mine + sum(others)

    def _expected_s(self, share: Share) -> float:
        """Return how long it would wait, by how long places were held lately: of all, or of those of its project."""
        mine = self._waiting_of(share.project) + 1
        return self._held_s * max(self._position(share) / self._limits.places, mine / self._of_project)

    def _refused(self, why: str, share: Share, *, limit: float) -> QueueFull:
        REFUSED.labels(self._what).inc()
        position, expected_s = self._position(share), self._expected_s(share)
        pause_s = min(max(expected_s, _PAUSE_S), self._limits.max_wait_s)
        taken = f"all {self._limits.places} {self._what} are taken"
        if self._total < self._limits.places:
            taken = f"all {self._of_project} {self._what} that one project may have are taken"
        message = (
            f"{taken}, and {why}: "
            f"position {position}, about {math.ceil(expected_s)} s; try again in {math.ceil(pause_s)} s"
        )
        return QueueFull(
            message, retry_after_s=pause_s, position=position, expected_wait_s=round(expected_s, 1), limit=limit
        )

    def _waiting_of(self, project: str) -> int:
        return len(self._lines.get(project, ()))

    def _may(self, project: str) -> bool:
        return self._total < self._limits.places and self._counts[project] < self._of_project

    def _grant(self, share: Share) -> None:
        self._total += 1
        self._counts[share.project] += 1
        self._add_load(share, 1 / share.weight)

    def _give(self, share: Share) -> None:
        self._total -= 1
        self._counts[share.project] -= 1
        if not self._counts[share.project]:
            del self._counts[share.project]
        self._add_load(share, -1 / share.weight)
        self._serve()

    def _serve(self) -> None:
        """Give free places to those who wait."""
        while eligible := [project for project in self._lines if self._may(project)]:
            project = min(eligible, key=lambda each: self._load_of(each) / self._weight(each))
            line = self._lines.pop(project)
            waiting = line.pop(partial(self._load_of, project))
            if line.users:
                self._lines[project] = line  # behind the others, which are first where loads are equal
            if not waiting.place.done():
                self._grant(waiting.share)
                waiting.place.set_result(None)

    def _load_of(self, project: str, end_user: str | None = None) -> float:
        return self._loads.get((project, end_user), 0.0)

    def _add_load(self, share: Share, change: float) -> None:
        for end_user in (None, share.end_user):
            load = self._load_of(share.project, end_user) + change
            if load > 1e-9:  # noqa: PLR2004 - what is left of adding and taking away fractions
                self._loads[share.project, end_user] = load
            else:
                self._loads.pop((share.project, end_user), None)

    def _forget(self, waiting: _Waiting) -> None:
        project = waiting.share.project
        line = self._lines.get(project)
        if line is not None and waiting in line.users.get(waiting.share.end_user, ()):
            line.remove(waiting)
            if not line.users:
                del self._lines[project]
