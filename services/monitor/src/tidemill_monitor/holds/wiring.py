"""Wires holds."""

from dataclasses import dataclass

from tidemill_core.application import SystemClock
from tidemill_kit.access.revocations import TOPIC
from tidemill_kit.service.backend import Backend
from tidemill_monitor.errors import HoldNotFound
from tidemill_monitor.holds.crud import HoldCrud
from tidemill_monitor.holds.grpc import GrpcHoldService
from tidemill_monitor.holds.mongo import HOLDS, LISTS
from tidemill_monitor.holds.ports import Holds, NotErased
from tidemill_monitor.settings import MonitorSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class WiredHolds:
    """What `app.py` needs of holds."""

    servicer: GrpcHoldService
    crud: HoldCrud
    holds: Holds


def wire_holds(settings: MonitorSettings, backend: Backend, *, projects: NotErased) -> WiredHolds:
    """Return what serves holds."""
    quota = settings.quota("holds", remedy="hold the whole project in place of many things of it")
    holds = backend.aggregates("holds", HOLDS, missing=HoldNotFound, topic=TOPIC, lists=LISTS, quota=quota)
    crud = HoldCrud(holds=holds, projects=projects, clock=SystemClock())
    return WiredHolds(servicer=GrpcHoldService(holds=crud), crud=crud, holds=holds)
