"""Wires holds."""

import asyncio
from dataclasses import dataclass

from tidemill_core.application import SystemClock
from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.access.holds import Holds as AsRead
from tidemill_kit.access.revocations import TOPIC
from tidemill_kit.service.backend import Backend
from tidemill_monitor.errors import HoldNotFound
from tidemill_monitor.holds.crud import HoldCrud
from tidemill_monitor.holds.domain import Hold
from tidemill_monitor.holds.grpc import GrpcHoldService
from tidemill_monitor.holds.mongo import HOLDS, LISTS
from tidemill_monitor.holds.ports import NotErased
from tidemill_monitor.settings import MonitorSettings

_WAIT_S = 10.0
_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownHolds:
    """Implements `ports.Known` by the topic, which this process reads as every service does."""

    read: AsRead
    wait_s: float = _WAIT_S

    async def __call__(self, hold: Hold) -> None:
        """See `Known`."""
        try:
            async with asyncio.timeout(self.wait_s):
                while not self.read.knows(hold.project, hold.id):  # noqa: ASYNC110 - the reader has no event
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError as error:
            message = f"hold {hold.id} is stored, but services do not know it yet: erasures stop as soon as they do"
            raise DependencyUnavailable(message, dependency="kafka") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class WiredHolds:
    """What `app.py` needs of holds."""

    servicer: GrpcHoldService
    crud: HoldCrud


def wire_holds(settings: MonitorSettings, backend: Backend, *, projects: NotErased) -> WiredHolds:
    """Return what serves holds."""
    quota = settings.quota("holds", remedy="hold the whole project in place of many things of it")
    holds = backend.aggregates("holds", HOLDS, missing=HoldNotFound, topic=TOPIC, lists=LISTS, quota=quota)
    crud = HoldCrud(holds=holds, projects=projects, clock=SystemClock(), known=KnownHolds(read=backend.holds))
    return WiredHolds(servicer=GrpcHoldService(holds=crud), crud=crud)
