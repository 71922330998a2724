"""Deletes records past their retention."""

import asyncio

import structlog

from tidemill_core.errors import TidemillError, isolated
from tidemill_inference.generation.retention import ForgetRecords
from tidemill_kit.workers.leases import Leases

_log = structlog.get_logger()


OLD_RECORDS = "old_records"
"""The lease of the process that removes them."""


class RecordKeeper:
    """Removes old records again and again, one process at a time."""

    def __init__(self, forget: ForgetRecords, leases: Leases, *, every_s: float) -> None:
        self._forget = forget
        self._leases = leases
        self._every_s = every_s

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                with isolated():
                    async with self._leases.held(OLD_RECORDS) as lease:
                        removed = 0 if lease is None else await self._forget()
                if removed:
                    _log.info("old_records_removed", records=removed)
            except TidemillError as error:
                _log.warning("old_records_left", reason=error.reason, why=error.message)
            except Exception as error:  # noqa: BLE001 - what breaks once is tried again
                _log.error("removal_of_old_records_broken", exc_info=error)
            await asyncio.sleep(self._every_s)
