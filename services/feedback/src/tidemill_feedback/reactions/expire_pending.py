"""Expire pending reactions: match each for a last time, or write a dead letter."""

from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Caller, Clock, Page, PageRequest, ResourceKey
from tidemill_feedback.reactions.match_pending import MatchPending
from tidemill_feedback.reactions.ports import DeadLetters, Pending

_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpirePending:
    """Runs under a lease, so that a dead letter is written once."""

    pending: Pending
    match: MatchPending
    dead_letters: DeadLetters
    clock: Clock
    wait: timedelta

    async def __call__(self, caller: Caller, inference: str) -> None:
        """Match the reactions that are pending on an inference, and remove the expired ones that still wait."""
        error = await self.match(caller, inference)
        if error is None:
            return
        for waiting in await self.pending.of(caller.project, inference):
            if waiting.since <= self.clock.now() - self.wait:
                await self.dead_letters.put(waiting, error)
                await self.pending.remove(waiting)

    async def expired(self, token: str = "", /, *, without: frozenset[str] = frozenset()) -> Page[ResourceKey]:
        """Return the inferences with expired reactions, the oldest first. Implements `controller.Pending`."""
        page = PageRequest(size=_PAGE, token=token)
        return await self.pending.since(self.clock.now() - self.wait, page=page, without=without)
