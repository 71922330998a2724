"""Notice that a provider answers as another model: in memory with each answer, and in the store where it is new."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cachetools import LRUCache

from tidemill_core.application import Clock, Request
from tidemill_core.errors import DependencyUnavailable, TidemillError, isolated
from tidemill_inference.engines.ports import ProviderIdentity
from tidemill_inference.providers.domain.remote_model import RemoteModelRecord
from tidemill_inference.providers.ports import RemoteModels

_MAX_MODELS = 10_000
_log = logging.getLogger(__name__)
_Key = tuple[str, str]
"""A project, and `model@version`."""


@dataclass(frozen=True, slots=True)
class _Known:
    identities: tuple[ProviderIdentity, ...]
    paused_until: datetime
    """Before which no change is recorded."""


@dataclass(slots=True, kw_only=True)
class NoticeProviderChanges:
    """Implements `engines.ports.Identified`. Emits RemoteModelHasChanged.

    An answer waits for no store. A process that dies before it recorded a change notices it with its next answer, since
    it knows nothing at its start.
    """

    models: RemoteModels
    clock: Clock
    min_interval: timedelta
    deleted: Callable[[str], bool]
    """Whether a project was deleted: nothing of it is recorded, since its erasure may have removed its records."""
    retry_s: float = 5.0
    _known: LRUCache[_Key, _Known] = field(default_factory=lambda: LRUCache(_MAX_MODELS))
    _new: dict[_Key, ProviderIdentity] = field(default_factory=dict)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, project: str, model: str, identity: ProviderIdentity) -> None:
        """See `Identified`."""
        known = self._known.get((project, model))
        if known and (identity in known.identities or self.clock.now() < known.paused_until):
            return
        if len(self._new) < _MAX_MODELS:  # else the next answer says it again
            self._new[project, model] = identity
            self._came.set()

    async def record(self) -> None:
        """Record what is new; what cannot be recorded now stays in memory, and holds up no other model.

        Raises:
            DependencyUnavailable: the store does not answer.
            TidemillError: what the first model that was not recorded failed with.

        """
        failed: TidemillError | None = None
        for key in list(self._new):
            try:
                await self._record(key)
            except TidemillError as error:
                if isinstance(error, DependencyUnavailable) and error.dependency == "mongodb":
                    raise  # so will all others
                failed = failed or error
        if failed:
            raise failed

    async def _record(self, key: _Key) -> None:
        project, model = key
        if self.deleted(project):
            self._new.pop(key, None)
        identity = self._new.get(key)
        if identity is None:
            return  # forgotten meanwhile
        now = self.clock.now()
        saved = await self.models.upsert(
            RemoteModelRecord(id=model, project=project),
            lambda record: record.answered_as(identity, now=now, min_interval=self.min_interval),
            request=Request.internal(),
        )
        if key in self._new:
            self._known[key] = _Known(saved.known, now + saved.pause(now, self.min_interval))
        if self._new.get(key) == identity:
            del self._new[key]

    async def run(self) -> None:
        """Record what comes, until cancelled."""
        while True:
            await self._came.wait()
            self._came.clear()
            try:
                with isolated():
                    await self.record()
            except TidemillError as error:
                _log.warning("provider_change_not_recorded: %s", error.reason)
                self._came.set()
                await asyncio.sleep(self.retry_s)

    @property
    def projects(self) -> set[str]:
        """The projects of which something is in memory."""
        return {project for project, _ in (*self._known, *self._new)}

    async def forget(self, project: str) -> int:
        """Forget the models of a project; return how many that were."""
        mine = {key for key in (*self._known, *self._new) if key[0] == project}
        for key in mine:
            self._known.pop(key, None)
            self._new.pop(key, None)
        return len(mine)
