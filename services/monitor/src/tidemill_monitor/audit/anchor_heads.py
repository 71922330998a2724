"""Anchor the ends of chains, and delete records that are past their retention."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from tidemill_core.application import Clock
from tidemill_core.audit import Head
from tidemill_core.errors import TidemillError
from tidemill_monitor.audit.domain import ChainEnd
from tidemill_monitor.audit.ports import Anchors, Chains

_MAX_FAILURES = 10
"""Chains that fail one after another: then it is the store, and the rest would wait for it in vain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintained:
    """What was done to the chains, and which of them have to wait for the next run."""

    done: int = 0
    postponed: dict[str, TidemillError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorHeads:
    """Keeps the ends outside of the database, so that its administrator cannot rewrite a chain unseen."""

    chains: Chains
    anchors: Anchors
    clock: Clock
    keep: timedelta | None
    """How long records are kept; None keeps all."""

    async def __call__(self) -> Maintained:
        """Anchor what has grown, and return how many ends that were."""
        return await self._each(self._anchor)

    async def forget(self) -> Maintained:
        """Delete what is past its retention up to an anchor, behind which the rest stays verifiable."""
        return await self._each(self._forget) if self.keep is not None else Maintained()

    async def _each(self, work: Callable[[ChainEnd], Awaitable[int]]) -> Maintained:
        """Do it to every chain; one that fails keeps none behind it waiting."""
        done, failures, postponed = 0, 0, dict[str, TidemillError]()
        async for end in self.chains.ends():
            try:
                done, failures = done + await work(end), 0
            except TidemillError as error:
                failures, postponed[end.chain] = failures + 1, error
                if failures == _MAX_FAILURES:
                    raise
        return Maintained(done=done, postponed=postponed)

    async def _anchor(self, end: ChainEnd) -> int:
        if end.head.seq <= end.anchored:
            return 0
        await self.anchors.put(end.chain, end.head)
        await self.chains.anchored(end.chain, end.head)
        return 1

    async def _forget(self, end: ChainEnd) -> int:
        first = await self.chains.first(end.chain)
        if not first or self.keep is None:
            return 0
        anchor = await self.anchors.newest_before(end.chain, self.clock.now() - self.keep, first=first)
        return await self.chains.delete(end.chain, until=Head(seq=anchor.seq, hash=anchor.hash)) if anchor else 0
