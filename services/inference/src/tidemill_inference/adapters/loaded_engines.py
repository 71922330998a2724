"""The engines of this process: one per model digest, loaded once, dropped when memory is needed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog
import torch

from tidemill_inference.adapters.observed_engine import ObservedEngine
from tidemill_inference.adapters.openai_engine import OpenAiEngine
from tidemill_inference.adapters.secrets import Secrets
from tidemill_inference.adapters.transformers_engine import EngineLimits, TransformersEngine
from tidemill_inference.application.ports import Engine, ModelVersion, RemoteModel
from tidemill_inference.domain.errors import ModelRefused
from tidemill_kit.artifacts import ArtifactCache
from tidemill_kit.errors import DependencyUnavailable, PreconditionFailed
from tidemill_kit.manifest import ArtifactFile, ArtifactRefused, Manifest
from tidemill_kit.objects import ObjectDamaged, ObjectMissing

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How engines are made. `memory_bytes` bounds weights and caches of all local engines together."""

    dtype: torch.dtype
    memory_bytes: int
    limits: EngineLimits = field(default_factory=EngineLimits)
    remote_stall_s: float = 20.0
    remote_retries: int = 2


@dataclass(slots=True, kw_only=True)
class _Slot:
    """A model's place: reserved before it is loaded, so that two loads never take the same memory."""

    name: str
    bytes: int
    users: int = 0
    last_used: float = 0.0
    engine: TransformersEngine | None = None
    stage: str = "waiting"
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)


class LoadedEngines:
    """Implements `application.ports.Engines`."""

    def __init__(self, cache: ArtifactCache, secrets: Secrets, options: EngineOptions) -> None:
        self._cache = cache
        self._secrets = secrets
        self._options = options
        self._slots: dict[str, _Slot] = {}
        self._held: dict[str, set[tuple[str, str]]] = {}
        self._remote: dict[RemoteModel, OpenAiEngine] = {}

    @asynccontextmanager
    async def use(self, project: str, model: ModelVersion) -> AsyncIterator[Engine]:
        """See `Engines.use`."""
        if model.remote is not None:
            yield ObservedEngine(self._remote_engine(model.remote), model=model.id)
            return
        slot = self._slots.get(model.digest) or await self._reserve(model)
        slot.users += 1
        try:
            async with slot.loading:
                if slot.engine is None or not slot.engine.alive:
                    slot.engine = await self._load(project, model, slot)
            yield ObservedEngine(slot.engine, model=model.id)
        finally:
            slot.users -= 1
            slot.last_used = time.monotonic()
            if slot.engine is None and slot.users == 0:
                self._slots.pop(model.digest, None)

    async def prepare(self, project: str, model: ModelVersion, *, holder: str) -> None:
        """See `Engines.prepare`."""
        async with self.use(project, model):
            self._held.setdefault(model.digest, set()).add((project, holder))

    async def release(self, project: str, model: ModelVersion, *, holder: str) -> None:
        """See `Engines.release`."""
        holders = self._held.get(model.digest, set())
        holders.discard((project, holder))
        if not holders:
            self._held.pop(model.digest, None)

    async def probe(self) -> None:
        """Tell how far the first model is: until one is there, this process is of little use.

        Raises:
            DependencyUnavailable: no model is loaded yet, and one is on its way.

        """
        loading = [f"{slot.name} ({slot.stage})" for slot in self._slots.values() if slot.engine is None]
        if loading and len(loading) == len(self._slots):
            message = f"loading {', '.join(loading)}"
            raise DependencyUnavailable(message, dependency="engine")

    async def start(self) -> None:
        """Load nothing yet: a model comes with the first question for it."""

    async def stop(self) -> None:
        """End all engines."""
        slots, self._slots = list(self._slots.values()), {}
        for slot in slots:
            if slot.engine is not None:
                await asyncio.to_thread(slot.engine.close)
        for engine in self._remote.values():
            await engine.close()

    def _remote_engine(self, remote: RemoteModel) -> OpenAiEngine:
        if remote not in self._remote:
            key = self._secrets.get(remote.secret) if remote.secret else None
            self._remote[remote] = OpenAiEngine(
                remote, key=key, stall_s=self._options.remote_stall_s, retries=self._options.remote_retries
            )
        return self._remote[remote]

    async def _reserve(self, model: ModelVersion) -> _Slot:
        """Make room for a model, dropping those that were not used for longest."""
        slot = _Slot(name=model.id, bytes=self._estimate(model))
        limit = self._options.memory_bytes
        if slot.bytes > limit:
            message = f"model {model.id} needs about {slot.bytes >> 20} MB, and {limit >> 20} MB are for models here"
            raise PreconditionFailed(message, model=model.id)
        self._slots[model.digest] = slot  # before anything is awaited: the next caller finds it
        idle = sorted(
            (key for key, each in self._slots.items() if each.users == 0 and each is not slot),
            key=lambda key: (key in self._held, self._slots[key].last_used),
        )
        dropped = []
        while sum(each.bytes for each in self._slots.values()) > limit and idle:
            dropped.append(self._slots.pop(idle.pop(0)))
        if sum(each.bytes for each in self._slots.values()) > limit:
            del self._slots[model.digest]
        slot.users += 1  # nobody drops it while the others are closed
        try:
            await self._close(dropped)
        finally:
            slot.users -= 1
        if model.digest not in self._slots:
            message = f"the memory for models is used up by others in use, so {model.id} cannot be loaded: try again"
            raise DependencyUnavailable(message, dependency="memory", model=model.id)
        return slot

    async def _close(self, dropped: list[_Slot]) -> None:
        for slot in dropped:
            if slot.engine is not None:
                await asyncio.to_thread(slot.engine.close)
                slot.engine = None
            _log.info("engine_dropped", model=slot.name)

    async def _load(self, project: str, model: ModelVersion, slot: _Slot) -> TransformersEngine:
        """Fetch, verify, load and start; a cancelled caller does not stop what others wait for too."""
        started = time.monotonic()
        slot.stage = "fetching its files"
        try:
            files = [ArtifactFile(path, ref.size, ref.sha256) for path, ref in model.files.items()]
            folder = await self._cache.fetch(project, Manifest(files), model.files)
        except ArtifactRefused as error:
            raise ModelRefused(model.id, why=error.message) from error
        except (ObjectDamaged, ObjectMissing) as error:
            path = next((path for path, ref in model.files.items() if ref.key == error.metadata["key"]), "a file")
            what = "is not in the store" if isinstance(error, ObjectMissing) else "is damaged in the store"
            raise ModelRefused(model.id, why=f"{path} {what}") from error
        slot.stage = "loading"
        made = asyncio.ensure_future(asyncio.to_thread(self._made, folder, model.id))
        try:
            engine = await asyncio.shield(made)
        except asyncio.CancelledError:
            made.add_done_callback(_let_go)
            raise
        engine.start()
        slot.bytes = engine.resident_bytes
        _log.info(
            "engine_loaded",
            model=model.id,
            engine=engine.fingerprint,
            resident_bytes=slot.bytes,
            duration_s=round(time.monotonic() - started, 2),
        )
        return engine

    def _made(self, folder: Path, name: str) -> TransformersEngine:
        return TransformersEngine(folder, name=name, dtype=self._options.dtype, limits=self._options.limits)

    def _estimate(self, model: ModelVersion) -> int:
        """Return what a model will take, from its files: weights are stored with 16 bits, as a rule."""
        weights = sum(ref.size for path, ref in model.files.items() if path.endswith(".safetensors"))
        return weights * self._options.dtype.itemsize // torch.bfloat16.itemsize


def _let_go(made: asyncio.Future[TransformersEngine]) -> None:
    """Nobody waits for this engine any more: it was never started, so dropping it frees it."""
    if not made.cancelled():
        made.exception()
