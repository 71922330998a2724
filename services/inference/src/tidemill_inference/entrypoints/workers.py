"""Work beside the requests: models are loaded when a deployment begins to need them, not with its first question."""

import asyncio

import structlog

from tidemill_inference.application.ports import Engines, Models
from tidemill_kit.errors import TidemillError, isolated
from tidemill_kit.grpc_context import acting_for

_WAITING = 100

_log = structlog.get_logger()


class WarmUp:
    """Loads one wanted model after the other. What does not fit in, or fails, waits for its first question."""

    def __init__(self, models: Models, engines: Engines) -> None:
        self._models = models
        self._engines = engines
        self._wanted: asyncio.Queue[tuple[str, str]] = asyncio.Queue(_WAITING)

    def want(self, project: str, model: str) -> None:
        """Have a `model@version` loaded soon."""
        if not self._wanted.full():
            self._wanted.put_nowait((project, model))

    async def run(self) -> None:
        """Load for as long as the service runs."""
        while True:
            project, model = await self._wanted.get()
            try:
                with isolated(), acting_for(project):
                    version = await self._models.resolve(project, model, field="model")
                    async with self._engines.use(project, version):
                        pass
            except TidemillError as error:
                _log.warning("model_not_warmed_up", project=project, model=model, reason=error.reason)
            except Exception as error:  # noqa: BLE001 - one model that breaks must not end the service for all others
                _log.error("model_warm_up_broken", project=project, model=model, exc_info=error)
