"""Background work: deleting old records, and loading models before the first request needs them."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from tidemill_core.errors import TidemillError, isolated
from tidemill_core.grpc.context import acting_for
from tidemill_inference.application.forget_records import ForgetRecords
from tidemill_inference.application.ports.engines import Engines
from tidemill_inference.application.ports.models import Models
from tidemill_kit.workers.leases import Leases

_WAITING = 100

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


class WarmUp:
    """Loads one requested model after the other. One that does not fit, or fails, is loaded with its first request."""

    def __init__(
        self, models: Models, engines: Engines, *, first: Callable[[], Sequence[tuple[str, str]]] = tuple
    ) -> None:
        """Begin with what `first` returns, which may block for a moment: what the last process had loaded."""
        self._models = models
        self._engines = engines
        self._first = first
        self._requested: asyncio.Queue[tuple[str, str]] = asyncio.Queue(_WAITING)

    def preload(self, project: str, model: str) -> None:
        """Have a `model@version` loaded soon."""
        if not self._requested.full():
            self._requested.put_nowait((project, model))

    async def run(self) -> None:
        """Load for as long as the service runs."""
        for before in await asyncio.to_thread(self._first):
            self.preload(*before)
        while True:
            project, model = await self._requested.get()
            try:
                with isolated(), acting_for(project):
                    version = await self._models.resolve(project, model, field="model")
                    async with self._engines.use(project, version):
                        pass
            except TidemillError as error:
                _log.warning("model_not_warmed_up", project=project, model=model, reason=error.reason)
            except Exception as error:  # noqa: BLE001 - one model that breaks must not end the service for all others
                _log.error("model_warm_up_broken", project=project, model=model, exc_info=error)
