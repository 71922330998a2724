"""Records in the service's own process when its requests, their steps, its relay and its collections begin and end.

Named in `ServiceProcess.imports_late`; SIGUSR1 writes what was recorded so far, and begins anew, to the file that
TIDEMILL_SPANS names. A span costs some microseconds.
"""

import gc
import json
import os
import signal
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from time import perf_counter
from typing import Any

from pymongo import monitoring

from tidemill_inference.caching.reuse import ReuseAnswers
from tidemill_inference.generation.reservation import Reservation
from tidemill_kit.events import relay
from tidemill_kit.events.kafka import Publisher
from tidemill_kit.http.exchange import HttpEdge

FILE = "TIDEMILL_SPANS"
_SPANS: list[tuple[str, float, float]] = []


class _Commands(monitoring.CommandListener):
    """Records the commands of MongoDB as the driver sees them, by their name and collection."""

    def __init__(self) -> None:
        self._collections: dict[int, str] = {}

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self._collections[event.request_id] = str(event.command.get(event.command_name, ""))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        now, name = perf_counter(), self._collections.pop(event.request_id, "")
        _SPANS.append((f"{event.command_name} {name}", now - event.duration_micros / 1e6, now))

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        self._collections.pop(event.request_id, None)


def install() -> None:
    """Record from now on."""
    monitoring.register(_Commands())
    for owner, method, name in (
        (HttpEdge, "__call__", "request"),
        (ReuseAnswers, "find", "lookup"),
        (Reservation, "complete", "complete"),
        (relay._TakingOut, "__call__", "take out"),  # noqa: SLF001 - a measurement of it
        (Publisher, "publish", "publish"),
    ):
        setattr(owner, method, _timed(getattr(owner, method), name))
    began = [0.0]

    def collected(phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            began[0] = perf_counter()
        else:
            _SPANS.append((f"gc {info['generation']}", began[0], perf_counter()))

    gc.callbacks.append(collected)
    signal.signal(signal.SIGUSR1, lambda *_: _write())


def _timed(call: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(call)
    async def timed(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever it takes
        began = perf_counter()
        try:
            return await call(*given, **named)
        finally:
            _SPANS.append((name, began, perf_counter()))

    return timed


def _write() -> None:
    file = Path(os.environ[FILE])
    part = file.with_suffix(".part")
    part.write_text(json.dumps(_SPANS), encoding="utf-8")
    _SPANS.clear()
    part.replace(file)
