"""Periodic work on the chains: anchors, and the deletion of old records."""

import asyncio
from dataclasses import dataclass

import structlog

from tidemill_core.errors import TidemillError
from tidemill_kit.workers.leases import Leases
from tidemill_monitor.audit.anchor_heads import AnchorHeads

_log = structlog.get_logger()

ANCHORS = "audit_anchors"
"""The lease of the process that writes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditMaintenance:
    """Anchors and deletes at startup and periodically, in one process at a time."""

    anchor: AnchorHeads
    leases: Leases
    interval_s: float

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                async with self.leases.held(ANCHORS) as lease:
                    if lease is not None:
                        anchored, deleted = await self.anchor(), await self.anchor.forget()
                        _log.info("audit_anchored", chains=anchored.done, deleted=deleted.done)
                        for chain, error in (*anchored.postponed.items(), *deleted.postponed.items()):
                            _log.warning("audit_chain_postponed", chain=chain, reason=error.reason, why=error.message)
            except TidemillError as error:
                _log.warning("audit_anchors_postponed", reason=error.reason, why=error.message)
            await asyncio.sleep(self.interval_s)
