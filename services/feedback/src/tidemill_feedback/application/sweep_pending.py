"""Let nothing wait for ever: what has waited long enough is matched for a last time, or becomes a dead letter."""

from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Clock
from tidemill_feedback.application.match_pending import MatchPending
from tidemill_feedback.application.ports import DeadLetters, Pending

_BATCH_SIZE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPending:
    """Done by one worker at a time, so that a dead letter is written once."""

    pending: Pending
    match: MatchPending
    dead_letters: DeadLetters
    clock: Clock
    wait: timedelta

    async def __call__(self) -> int:
        """Return how many reactions were given up."""
        until, given_up = self.clock.now() - self.wait, 0
        for project, inference in await self.pending.since(until, limit=_BATCH_SIZE):
            error = await self.match(project, inference)
            if error is None:
                continue
            for waiting in await self.pending.of(project, inference):
                if waiting.since <= until:
                    await self.dead_letters.put(waiting, error)
                    await self.pending.remove(waiting)
                    given_up += 1
        return given_up
