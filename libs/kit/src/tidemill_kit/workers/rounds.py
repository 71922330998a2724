"""Work that costs less together: what comes one after the other goes on in rounds."""

import asyncio


class Rounds:
    """Lets what comes go on: at once where the last round is `every_s` ago, else with all that comes until then.

    A round begins early where `full` wait for it, so that it delays nothing where much comes.
    """

    def __init__(self, *, every_s: float, full: int) -> None:
        self._every_s = every_s
        self._full = full
        self._next = 0.0
        self._waiting: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def join(self) -> None:
        """Return when a round begins."""
        loop = asyncio.get_running_loop()
        if not self._waiting and loop.time() >= self._next:
            self._next = loop.time() + self._every_s
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        if len(self._waiting) >= self._full:
            self._begin()
        elif self._timer is None:
            self._timer = loop.call_at(self._next, self._begin)
        await turn

    def end(self) -> None:
        """Let go on what waits, and from now on what comes, at once."""
        self._every_s = self._next = 0.0
        if self._waiting:
            self._begin()

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        self._next = asyncio.get_running_loop().time() + self._every_s
        for turn in waiting:
            if not turn.done():  # the one that waited may have been cancelled
                turn.set_result(None)
