"""Leases on imports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tidemill_kit.workers.leases import LeaseLost, Leases
from tidemill_trainer.application.ports import VersionName
from tidemill_trainer.domain.errors import ImportLost


class MongoImportLeases:
    """Implements `ports.ImportLeases`. The version stores the epoch and refuses writes of earlier ones."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    @asynccontextmanager
    async def held(self, version: VersionName) -> AsyncIterator[int | None]:
        """See `ImportLeases.held`."""
        try:
            async with self._leases.held(f"{version.project}/{version.version}") as lease:
                yield lease.epoch if lease else None
        except LeaseLost as error:
            raise ImportLost(version.version) from error
