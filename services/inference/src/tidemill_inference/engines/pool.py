"""The pool of engines of this process: one per model content, loaded once, unloaded when idle or memory is needed.

The engines of a base and of its adapters share its weights, which stay loaded as long as one of them does.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from tidemill_core.deadlines import begin_shared
from tidemill_core.errors import DependencyUnavailable, TidemillError, isolated
from tidemill_inference.engines.loading import EngineLoader, EngineOptions, import_libraries
from tidemill_inference.engines.memory import Base, EngineMemory, PlacedEngine, SharedEngine
from tidemill_inference.engines.model_files import ModelFiles
from tidemill_inference.engines.observed import ObservedEngine
from tidemill_inference.engines.ports import (
    Capability,
    Engine,
    Generated,
    Identified,
    LiveModel,
    LiveModels,
    ModelVersion,
    Prompt,
    identifies_nothing,
)
from tidemill_inference.engines.remote import RemoteEngines
from tidemill_kit.erasure.steps import NotYet
from tidemill_kit.models.artifacts import ArtifactCache

_SWEEPS = 4
"""How often the pool is swept within the time that an engine may be idle."""
_MAX_SWEEP_S = 30.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _ProjectEngine:
    """Implements `ports.Engine` for one project by an engine that all share."""

    shared: SharedEngine
    project: str

    @property
    def fingerprint(self) -> str:
        """See `Engine.fingerprint`."""
        return self.shared.fingerprint

    @property
    def context_tokens(self) -> int:
        """See `Engine.context_tokens`."""
        return self.shared.context_tokens

    @property
    def capabilities(self) -> frozenset[Capability]:
        """See `Engine.capabilities`."""
        return self.shared.capabilities

    async def count_tokens(self, prompt: Prompt) -> int:
        """See `Engine.count_tokens`."""
        return await self.shared.count_tokens(self.project, prompt)

    def generate(self, prompt: Prompt, *, timeout_s: float) -> AsyncGenerator[Generated, None]:
        """See `Engine.generate`."""
        return self.shared.generate(self.project, prompt, timeout_s=timeout_s)


class LoadedEngines:
    """Implements `ports.Engines`."""

    def __init__(
        self,
        cache: ArtifactCache,
        remote: RemoteEngines,
        live: LiveModels,
        options: EngineOptions,
        *,
        identified: Identified = identifies_nothing,
    ) -> None:
        """`identified` is called with what answers of remote models say of themselves."""
        self._remote = remote
        self._identified = identified
        self._live = live
        self._options = options
        self._loader = EngineLoader(ModelFiles(cache), options)
        self._memory = EngineMemory(options.memory_bytes)
        self._sweeping: asyncio.Task[None] | None = None
        self._importing: asyncio.Task[None] | None = None
        self._freeing_memory = asyncio.Lock()
        self._unloading: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def use(self, project: str, model: ModelVersion) -> AsyncIterator[Engine]:
        """See `Engines.use`."""
        if model.remote is not None:
            async with self._remote.use(project, model.remote) as remote:
                yield ObservedEngine(remote, project=project, model=model.id, identified=self._identified)
            return
        async with self._used(project, self._loader.with_engine(model)) as placed:
            assert placed.engine is not None  # noqa: S101 - it is loaded for the length of the block
            yield ObservedEngine(_ProjectEngine(placed.engine, project), project=project, model=model.id)

    async def verify(self, project: str, model: ModelVersion) -> None:
        """See `Engines.verify`."""
        for each in (model, model.base):
            if each is not None and each.remote is None:
                await self._loader.verified_files(project, each)

    async def prepare(self, project: str, model: ModelVersion, *, holder: str) -> None:
        """See `Engines.prepare`."""
        if model.remote is not None:
            await self._remote.check(project, model.remote)
            return
        async with self._used(project, self._loader.with_engine(model)) as placed:
            placed.holders.add((project, holder))

    async def release(self, project: str, model: ModelVersion, *, holder: str) -> None:
        """See `Engines.release`. It is unloaded after `idle_s`, so that a rollback finds it loaded."""
        if placed := self._memory.find(self._loader.with_engine(model)):
            placed.holders.discard((project, holder))
            placed.last_used = time.monotonic()

    @property
    def projects(self) -> set[str]:
        """The projects that have a model in this process, or connections of a remote one."""
        return {*self._remote.projects, *(project for each in self._memory.engines for project in each.projects)}

    async def forget(self, project: str) -> int:
        """Unload what only this project has, or shares; return how much that was. What is in use stays until it is not.

        Raises:
            NotYet: some of it is in use, or loading.

        """
        clients = await self._remote.forget(project)
        async with self._freeing_memory:
            left = [each for each in self._memory.engines if project in each.projects and each.forget(project)]
            unloaded = [each for each in left if each.idle]
            await self._close(unloaded, self._memory.remove(unloaded))
        if self._options.before is not None:
            await asyncio.to_thread(self._options.before.forget, project)
        if len(unloaded) < len(left):
            message = "a model of the project is in use, or loading"
            raise NotYet(message)
        return clients + len(unloaded)

    async def probe(self) -> None:
        """Report the progress of the first load: until one model answers, this process should get no requests.

        Raises:
            DependencyUnavailable: models are loading, or are started again after a crash, and none answers.

        """
        engines = self._memory.engines
        if engines and not any(each.engine and each.engine.serving for each in engines):
            loading = [f"{each.model.id} ({'starting again' if each.engine else each.stage})" for each in engines]
            message = f"loading {', '.join(loading)}"
            raise DependencyUnavailable(message, dependency="engine")

    async def start(self) -> None:
        """Import the libraries, which takes seconds; a model itself is loaded with its first request."""
        self._importing = asyncio.create_task(asyncio.to_thread(import_libraries), name="import-libraries")
        if self._options.idle_s:
            self._sweeping = asyncio.create_task(self._sweep(), name="idle-engines")

    async def stop(self) -> None:
        """Stop all engines."""
        engines, weights = self._memory.clear()
        loads = (*(each.loading for each in engines), *(each.loading for each in weights))
        running = [task for task in (self._sweeping, self._importing, *loads) if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        loaded = [engine for each in engines if (engine := each.engine)]
        await asyncio.gather(*(engine.aclose() for engine in loaded))
        await asyncio.gather(*(base.aclose() for each in weights if (base := each.loaded)))
        await self._remote.close()

    @asynccontextmanager
    async def _used(self, project: str, model: ModelVersion) -> AsyncIterator[PlacedEngine]:
        """Keep an engine loaded and running for the length of a block.

        A caller that is cancelled does not cancel the load, which the next request finds.
        """
        placed = self._memory.find(model) or self._placed(model)
        placed.requested_as((project, model.id))
        placed.users += 1
        try:
            await self._loaded(project, model, placed)
            yield placed
        finally:
            placed.users -= 1
            placed.last_used = time.monotonic()
            self._remove_failed(placed)

    def _placed(self, model: ModelVersion) -> PlacedEngine:
        return self._memory.place(
            model,
            weights_bytes=self._loader.estimated_bytes(model.base or model),
            own_bytes=self._loader.estimated_bytes(model) if model.base else 0,
            cache_tokens=self._loader.cache_tokens(model),
        )

    async def _loaded(self, project: str, model: ModelVersion, placed: PlacedEngine) -> None:
        """Wait for the engine; a load that failed for another caller, with that project's files, is tried once more."""
        mine = False
        while not mine:
            if placed.has_to_load:
                mine, placed.loading = True, begin_shared(self._load(project, model, placed), name=f"load {model.id}")
                placed.loading.add_done_callback(lambda _: self._remove_failed(placed))
            assert placed.loading is not None  # noqa: S101 - else it has to load
            try:
                await asyncio.shield(placed.loading)
            except DependencyUnavailable:
                raise  # the dependency, or the memory, is the same for all callers
            except TidemillError:
                if mine:
                    raise
            else:
                return

    def _remove_failed(self, placed: PlacedEngine) -> None:
        """Free the memory of a failed load, once no caller waits for it."""
        if placed.users == 0 and placed.failed and (unloaded := self._memory.remove([placed])):
            closing = asyncio.create_task(_unload(unloaded), name="unload")
            self._unloading.add(closing)
            closing.add_done_callback(self._unloading.discard)

    async def _load(self, project: str, model: ModelVersion, placed: PlacedEngine) -> SharedEngine:
        """Fetch, verify, load and start; `model` is the caller's own, whose objects are of this project."""
        started = time.monotonic()
        placed.stage = "fetching its files"
        folder = None
        if not placed.weights.token_bytes:
            self._memory.refuse_too_large(placed)
            folder = await self._measured_files(project, model, placed)
        await self._free_memory(placed)
        weights = await self._shared_weights(project, model, placed, folder)
        engine = await self._loader.started_engine(project, model, weights)
        placed.bytes, placed.last_used = engine.adapter_bytes, time.monotonic()
        placed.granted_bytes = placed.own_bytes
        _log.info(
            "engine_loaded",
            model=model.id,
            engine=engine.fingerprint,
            own_bytes=placed.own_bytes,
            shared_bytes=placed.weights.bytes,
            duration_s=round(time.monotonic() - started, 2),
        )
        await self._record_loaded(placed)
        return engine

    async def _measured_files(self, project: str, model: ModelVersion, placed: PlacedEngine) -> Path:
        folder = await self._loader.verified_files(project, model.base or model)
        await self._loader.measure(folder, placed.weights)
        return folder

    async def _shared_weights(
        self, project: str, model: ModelVersion, placed: PlacedEngine, folder: Path | None
    ) -> Base:
        """Return the weights, which are read once for all engines that share them."""
        shared = placed.weights
        if shared.loaded is None:
            folder = folder or await self._measured_files(project, model, placed)
            if shared.failed:
                shared.loading = begin_shared(self._loader.loaded_base(project, folder, shared), name="load weights")
        assert shared.loading is not None  # noqa: S101 - an engine with granted memory keeps its weights
        placed.stage = "loading"
        return await asyncio.shield(shared.loading)

    async def _free_memory(self, placed: PlacedEngine) -> None:
        """Grant an engine its memory, for which others are evicted: one engine at a time.

        Raises:
            PreconditionFailed: it exceeds the limit alone.
            DependencyUnavailable: engines in use leave too little, or the store cannot say which serve live.

        """
        async with self._freeing_memory:
            self._memory.refuse_too_large(placed)
            evicted = [] if self._memory.fits(placed) else self._memory.evicted_for(placed, await self._live_names())
            placed.granted_bytes = placed.own_bytes
            await self._close(evicted, self._memory.remove(evicted))

    async def _live_names(self) -> frozenset[LiveModel]:
        """Return which of the engines' models deployments serve."""
        return await self._live.among(self._memory.names())

    async def _close(self, removed: Collection[PlacedEngine], bases: Sequence[asyncio.Task[Base]] = ()) -> None:
        """Stop engines that were removed, and bases that none shares; a cancelled caller does not interrupt this."""
        closed = [(each, engine) for each in removed if (engine := each.engine)]
        await asyncio.shield(_ended([engine for _, engine in closed], bases))
        for each, _ in closed:
            each.loading = None
            _log.info("engine_dropped", model=each.model.id)
        await self._record_loaded()

    async def _record_loaded(self, new: PlacedEngine | None = None) -> None:
        """Record what is loaded for the next process, which loads it first."""
        if self._options.before is not None:
            await asyncio.to_thread(self._options.before.write, self._memory.loaded_names(new))

    async def _sweep(self) -> None:
        """Unload engines that were idle for long enough and do not serve live."""
        while True:
            await asyncio.sleep(min(self._options.idle_s / _SWEEPS, _MAX_SWEEP_S))
            if not self._unused():
                continue
            try:
                with isolated():
                    await self._evict_unused()
            except TidemillError as error:
                _log.warning("engine_eviction_skipped", reason=error.reason, why=error.message)
            except Exception as error:  # noqa: BLE001 - one engine that does not close must not keep all others
                _log.error("idle_engine_not_closed", exc_info=error)

    async def _evict_unused(self) -> None:
        async with self._freeing_memory:
            live = await self._live_names()
            evicted = [each for each in self._unused() if each.names.isdisjoint(live)]
            await self._close(evicted, self._memory.remove(evicted))

    def _unused(self) -> list[PlacedEngine]:
        return self._memory.unused(since=time.monotonic() - self._options.idle_s)


async def _ended(engines: Sequence[SharedEngine], bases: Sequence[asyncio.Task[Base]]) -> None:
    await asyncio.gather(*(engine.aclose() for engine in engines))
    await _unload(bases)


async def _unload(bases: Sequence[asyncio.Task[Base]]) -> None:
    """Let bases go that no engine shares any more, also those that are loading."""
    for loading in bases:
        loading.cancel()
    for base in await asyncio.gather(*bases, return_exceptions=True):
        if not isinstance(base, BaseException):
            await base.aclose()
