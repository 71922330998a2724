"""Who of many works now: at most so many at once, and no project takes all the places."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self, TypeVar

R = TypeVar("R")

_CROWD = 100


class Needs(Protocol):
    """What a work takes beside a place. Called by the event loop alone; neither waits."""

    def take(self) -> bool:
        """Take it if it is there; return whether it was."""

    def give_back(self) -> None:
        """Give back what was taken."""


_Waiting = tuple[float, int, asyncio.Future[None], Needs | None]
"""One that waits: its rank, when it came, its place, and what it needs beside that."""


def places_of_project(places: int) -> int:
    """Return how many of so many places one project gets at most."""
    return max(1, places - places // 4)


class Turns:
    """Places that are given to one waiting project after the other; within one by rank, then in the order of arrival.

    One project gets three quarters of them at most, so that what others have never waits for what one has. A work that
    needs more than a place is passed over as long as that is not there.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._of_project = places_of_project(places)
        self._working: dict[str, int] = {}
        self._total = 0
        self._waiting: dict[str, list[_Waiting]] = {}
        self._arrived = itertools.count()

    @property
    def crowded(self) -> frozenset[str]:
        """The projects of which so many wait for a place that there is no need to find more of their work."""
        return frozenset(project for project, line in self._waiting.items() if len(line) >= _CROWD)

    def of(self, project: str, *, rank: float = 0.0, needs: Needs | None = None) -> "Turn":
        """Return a turn of the project, to be taken by `async with`; of those that wait, the lowest rank is first."""
        return Turn(self, project, rank, needs)

    async def in_thread(self, project: str, work: Callable[[], R]) -> R:
        """Run CPU work in a thread, in a turn of the project.

        A caller that is cancelled leaves at once; its place stays taken until the thread, which goes on, ends.
        """
        await self.take(project)
        running = asyncio.ensure_future(asyncio.to_thread(work))
        running.add_done_callback(lambda _: self.give(project))
        return await asyncio.shield(running)

    async def take(self, project: str, *, rank: float = 0.0, needs: Needs | None = None) -> None:
        """Return when the project has one place more, and what is needed beside it."""
        if self._granted(project, needs):
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting.setdefault(project, []), (rank, next(self._arrived), place, needs))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.give(project, needs=needs)
            raise

    def give(self, project: str, *, hands_on: bool = False, needs: Needs | None = None) -> None:
        """Give a place back, to those who wait for one; `hands_on`: to one of the same project first."""
        self._total -= 1
        self._working[project] -= 1
        if not self._working[project]:
            del self._working[project]
        if needs:
            needs.give_back()
        if hands_on and project in self._waiting:
            self._serve(project)
        self.serve()

    def serve(self) -> None:
        """Give places to those who wait: what they need beside one may be there by now."""
        served = True
        while served:
            served = False
            for waiting in tuple(self._waiting):
                if self._total >= self._places:
                    return
                served |= self._serve(waiting)

    def _serve(self, project: str) -> bool:
        """Give a place to the project's first that has what it needs, and let other projects be first the next time."""
        line, served = self._waiting.pop(project), False
        passed: list[_Waiting] = []
        while line and not served and self._may(project):
            first = heapq.heappop(line)
            _, _, place, needs = first
            if place.done():
                continue
            if served := self._granted(project, needs):
                place.set_result(None)
            else:
                passed.append(first)
        for each in passed:
            heapq.heappush(line, each)
        if line:
            self._waiting[project] = line
        return served

    def _granted(self, project: str, needs: Needs | None) -> bool:
        if not self._may(project) or not (needs is None or needs.take()):
            return False
        self._total += 1
        self._working[project] = self._working.get(project, 0) + 1
        return True

    def _may(self, project: str) -> bool:
        return self._total < self._places and self._working.get(project, 0) < self._of_project


class Turn:
    """A place of one project, which may be given back for a while."""

    def __init__(self, turns: Turns, project: str, rank: float, needs: Needs | None = None) -> None:
        self._turns = turns
        self._project = project
        self._rank = rank
        self._needs = needs
        self._held = False
        self._hands_on = False

    async def __aenter__(self) -> Self:
        """Take the place."""
        await self._turns.take(self._project, rank=self._rank, needs=self._needs)
        self._held = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        self.pause()

    def hand_on(self) -> None:
        """Have the place go to the first of the project that waits, once it is given back."""
        self._hands_on = True

    def pause(self) -> None:
        """Give the place to others while this one only waits."""
        if self._held:
            self._held = False
            self._turns.give(self._project, hands_on=self._hands_on, needs=self._needs)

    async def resume(self) -> None:
        """Take a place again."""
        await self._turns.take(self._project, rank=self._rank, needs=self._needs)
        self._held = True
