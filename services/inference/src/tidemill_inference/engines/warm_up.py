"""Loads models before the first request needs them."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from tidemill_core.errors import TidemillError, isolated
from tidemill_inference.background import background
from tidemill_inference.engines.ports import Engines, Models

_WAITING = 100

_log = structlog.get_logger()


class WarmUp:
    """Loads one requested model after the other. One that does not fit, or fails, is loaded with its first request."""

    def __init__(
        self, models: Models, engines: Engines, *, first: Callable[[], Sequence[tuple[str, str, str]]] = tuple
    ) -> None:
        """Begin with what `first` returns, which may block for a moment: what the last process had loaded."""
        self._models = models
        self._engines = engines
        self._first = first
        self._requested: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue(_WAITING)

    def preload(self, project: str, model: str, engine: str = "") -> None:
        """Have a `model@version` loaded soon."""
        if not self._requested.full():
            self._requested.put_nowait((project, model, engine))

    async def run(self) -> None:
        """Load for as long as the service runs."""
        for before in await asyncio.to_thread(self._first):
            self.preload(*before)
        while True:
            project, model, engine = await self._requested.get()
            try:
                with isolated():
                    version = await self._models.resolve(background(project), model, field="model")
                    async with self._engines.use(project, replace(version, engine=engine)):
                        pass
            except TidemillError as error:
                _log.warning("model_not_warmed_up", project=project, model=model, reason=error.reason)
            except Exception as error:  # noqa: BLE001 - one model that breaks must not end the service for all others
                _log.error("model_warm_up_broken", project=project, model=model, exc_info=error)
