"""Import worker: fetches versions from the hub."""

import asyncio
from contextlib import suppress

import structlog

from tidemill_core.errors import TidemillError, isolated
from tidemill_kit.workers.fair_share import Turns
from tidemill_trainer.application.fetch_version import FetchVersion
from tidemill_trainer.application.ports import PendingImports, VersionName

_log = structlog.get_logger()


class ImportWorker:
    """Polls for pending imports, periodically and when notified; retries each until it is final."""

    def __init__(
        self, *, pending: PendingImports, fetch: FetchVersion, max_concurrent: int, retry_after_s: float
    ) -> None:
        self._pending = pending
        self._fetch = fetch
        self._turns = Turns(max_concurrent)
        self._retry_after_s = retry_after_s
        self._enqueued = asyncio.Event()
        self._running: set[VersionName] = set()

    def enqueue(self) -> None:
        """Notify the worker of new work."""
        self._enqueued.set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as imports:
            while True:
                self._enqueued.clear()
                for name in await self._waiting():
                    self._running.add(name)
                    imports.create_task(self._import(name))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._retry_after_s):
                        await self._enqueued.wait()

    async def _waiting(self) -> list[VersionName]:
        try:
            names = await self._pending.imports(without=self._turns.crowded)
            return [name for name in names if name not in self._running]
        except TidemillError as error:
            _log.warning("imports_not_found", reason=error.reason, why=error.message)
            return []

    async def _import(self, name: VersionName) -> None:
        facts = {"project": name.project, "version": name.version}
        try:
            with isolated():
                async with self._turns.of(name.project):
                    done = await self._fetch(name)
                _log.info("import_finished" if done else "import_postponed", **facts)
        except TidemillError as error:
            _log.warning("import_interrupted", reason=error.reason, why=error.message, **facts)
        except Exception as error:  # noqa: BLE001 - one import that breaks must not end the others; it is tried again
            _log.error("import_broken", exc_info=error, **facts)
        finally:
            self._running.discard(name)
