"""Anchor the ends of chains, and delete records that are past their retention."""

from dataclasses import dataclass
from datetime import timedelta

from tidemill_core.application import Clock
from tidemill_core.audit import Head
from tidemill_monitor.audit.ports import Anchors, Chains


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorHeads:
    """Keeps the ends outside of the database, so that its administrator cannot rewrite a chain unseen."""

    chains: Chains
    anchors: Anchors
    clock: Clock
    keep: timedelta | None
    """How long records are kept; None keeps all."""

    async def __call__(self) -> int:
        """Anchor what has grown, and return how many ends that were."""
        anchored = 0
        async for end in self.chains.ends():
            if end.head.seq > end.anchored:
                await self.anchors.put(end.chain, end.head)
                await self.chains.anchored(end.chain, end.head)
                anchored += 1
        return anchored

    async def forget(self) -> int:
        """Delete what is past its retention up to an anchor, behind which the rest stays verifiable."""
        if self.keep is None:
            return 0
        deleted, before = 0, self.clock.now() - self.keep
        async for end in self.chains.ends():
            if first := await self.chains.first(end.chain):
                anchor = await self.anchors.newest_before(end.chain, before, first=first)
                if anchor is not None:
                    deleted += await self.chains.delete(end.chain, until=Head(seq=anchor.seq, hash=anchor.hash))
        return deleted
