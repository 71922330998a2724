"""The sweeps: they delete what is past its retention."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from tidemill_core.application import Page
from tidemill_kit.workers.controller import Controller, Holder

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SweepKey:
    """A sweep through the data of all projects, by its name."""

    key: str
    project: str = ""


def sweep_controller(
    sweeps: Mapping[str, Callable[[], Awaitable[int]]], *, leases: Holder, poll_interval: timedelta
) -> Controller[SweepKey]:
    """Return the controller of sweeps that return how much they deleted; one process at a time does each."""

    async def sweep(name: SweepKey, _epoch: int) -> None:
        if deleted := await sweeps[name.key]():
            _log.info("sweep_finished", sweep=name.key, deleted=deleted)

    async def pending(_: str, /, *, without: frozenset[str]) -> Page[SweepKey]:  # noqa: ARG001 - they are of no project
        return Page(items=[SweepKey(name) for name in sweeps])

    return Controller(
        "sweeps", reconcile=sweep, pending=pending, leases=leases, max_concurrent=1, poll_interval=poll_interval
    )
