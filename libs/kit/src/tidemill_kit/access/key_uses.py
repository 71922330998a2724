"""Reports to monitor when API keys and grants were last used: together, once a minute, and no call waits for it."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

import grpc
import structlog
from cachetools import LRUCache

from tidemill.monitor.v1.access_service_pb2 import KeyUse, RecordUseRequest
from tidemill.monitor.v1.access_service_pb2_grpc import AccessServiceStub
from tidemill_core.application import Caller
from tidemill_core.errors import TidemillError
from tidemill_core.grpc.client import open_channel
from tidemill_core.grpc.context import acting_as
from tidemill_core.grpc.credentials import FileCredential
from tidemill_kit.access.tokens import Claims
from tidemill_kit.runtime.settings import ServiceSettings
from tidemill_kit.workers.worker import Worker

_INTERVAL_S = 60.0
_END_S = 2.0
_TIMEOUT_S = 10.0
_MAX_KEYS = 10_000
_MAX_REPORTED = 1000
_KEYS_OF = "service_account:"
GRANT = "grant:"
"""What stands before the id of a grant where a key has its credential."""


class Reporting(Protocol):
    """Where uses are recorded."""

    async def report(self, project: str, uses: Mapping[str, float], /) -> None:
        """Report uses (seconds since 1970, by credential) of a project's keys.

        Raises:
            TidemillError: they are not recorded; it is called again.

        """
        ...

    async def close(self) -> None:
        """Let go."""
        ...


_log = structlog.get_logger()


class KeyUses(Worker):
    """The uses that are not reported yet, 10,000 keys at most: of more, those used longest ago are left out."""

    def __init__(
        self, monitor: Reporting, *, interval_s: float = _INTERVAL_S, now: Callable[[], float] = time.time
    ) -> None:
        super().__init__("key uses", self._report_all)
        self._monitor = monitor
        self._interval_s = interval_s
        self._now = now
        self._uses: LRUCache[tuple[str, str], float] = LRUCache(_MAX_KEYS)
        self._failed = False

    def record(self, claims: Claims) -> None:
        """Remember that a key was used now; other tokens are none."""
        if claims.subject.startswith(_KEYS_OF):
            self._uses[claims.project, claims.id] = self._now()

    def record_grant(self, owner: str, grant: str) -> None:
        """Remember that another project read now what a project shares with it."""
        self._uses[owner, f"{GRANT}{grant}"] = self._now()

    async def stop(self) -> None:
        """Report what is left, if that is done soon."""
        await super().stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await self.flush()
        await self._monitor.close()

    async def flush(self) -> None:
        """Report all; what cannot be reported is kept for the next time."""
        uses, self._uses = self._uses, LRUCache(_MAX_KEYS)
        of_projects: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for (project, credential), used in uses.items():
            of_projects[project][credential] = used
        for project, used_at in of_projects.items():
            left = [*used_at.items()]
            for begin in range(0, len(left), _MAX_REPORTED):
                await self._try(project, dict(left[begin : begin + _MAX_REPORTED]))

    async def _try(self, project: str, uses: Mapping[str, float]) -> None:
        try:
            await self._monitor.report(project, uses)
        except TidemillError as error:
            for credential, used in uses.items():
                if (project, credential) not in self._uses:
                    self._uses[project, credential] = used
            if not self._failed:  # once, however long it lasts
                _log.warning("key_uses_not_reported", reason=error.reason)
            self._failed = True
        else:
            self._failed = False

    async def _report_all(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self.flush()


class Monitor:
    """Implements `Reporting` by monitor's API."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._channel: grpc.aio.Channel | None = None

    async def report(self, project: str, uses: Mapping[str, float], /) -> None:
        """See `Reporting.report`."""
        if self._channel is None:
            self._channel = self._opened()
        reported = [KeyUse(credential=name) for name in uses]
        for each in reported:
            each.use_time.FromDatetime(datetime.fromtimestamp(uses[each.credential], UTC))
        with acting_as(Caller(project=project, subject=f"tidemill-{self._settings.service}")):
            await AccessServiceStub(self._channel).RecordUse(RecordUseRequest(uses=reported))

    async def close(self) -> None:
        """See `Reporting.close`."""
        if self._channel is not None:
            await self._channel.close()

    def _opened(self) -> grpc.aio.Channel:
        settings = self._settings
        file = settings.access_credential_file
        return open_channel(
            settings.access_monitor_address,
            name="monitor",
            timeout_s=_TIMEOUT_S,
            tls=settings.tls,
            credential=FileCredential(file) if file else None,
            on_behalf=True,
        )
