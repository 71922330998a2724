"""Expire pending reactions: match each for a last time, or write a dead letter."""

from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Clock, Page
from tidemill_feedback.reactions.match_pending import MatchPending
from tidemill_feedback.reactions.ports import DeadLetters, Pending, PendingInference

_MAX_FOUND = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpirePending:
    """Runs under a lease, so that a dead letter is written once."""

    pending: Pending
    match: MatchPending
    dead_letters: DeadLetters
    clock: Clock
    wait: timedelta

    async def __call__(self, ref: PendingInference) -> None:
        """Match the reactions that are pending on an inference, and remove the expired ones that still wait."""
        error = await self.match(ref.project, ref.inference)
        if error is None:
            return
        for waiting in await self.pending.of(ref.project, ref.inference):
            if waiting.since <= self.clock.now() - self.wait:
                await self.dead_letters.put(waiting, error)
                await self.pending.remove(waiting)

    async def expired(self, _token: str = "", /, *, without: frozenset[str] = frozenset()) -> Page[PendingInference]:
        """Return the inferences with expired reactions, the oldest first. Implements `controller.Pending`."""
        found = await self.pending.since(self.clock.now() - self.wait, limit=_MAX_FOUND)
        return Page(items=[ref for ref in found if ref.project not in without])
