"""The engines of this process: one per model digest, loaded once, dropped when unused or when memory is needed.

Engines of a base and of its adapters stand on the same weights, which are there for as long as one of them is.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import structlog

from tidemill_core.errors import DependencyUnavailable, PreconditionFailed, TidemillError, isolated
from tidemill_inference.engines.chat_prompts import ChatRunner
from tidemill_inference.engines.limits import EngineLimits, SharedThreads
from tidemill_inference.engines.loaded_before import LoadedBefore
from tidemill_inference.engines.model_files import ModelFiles
from tidemill_inference.engines.observed import ObservedEngine
from tidemill_inference.engines.ports import Engine, LiveModel, LiveModels, ModelVersion
from tidemill_inference.engines.remote import RemoteEngines
from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_kit.models.numeric_format import NumericFormat

if TYPE_CHECKING:
    from tidemill_inference.engines.transformers.engine import TransformersEngine
    from tidemill_inference.engines.transformers.weights import ModelWeights

_SWEEPS = 4
"""How often within the time that an engine may be idle it is checked."""
_MAX_NAMES = 1000
"""Of the models of all projects that have the same content."""
_MAX_SWEEP_S = 30.0

_T = TypeVar("_T")

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How engines are made. `memory_bytes` bounds weights and caches of all local engines together.

    `idle_s` is how long an unused engine that is not kept stays, 0 for ever; `adapter_limits` are those of an engine
    with an adapter, which has a cache of its own beside its base's.
    """

    numeric_format: NumericFormat
    memory_bytes: int
    run_chat: ChatRunner
    limits: EngineLimits = field(default_factory=EngineLimits)
    adapter_limits: EngineLimits | None = None
    threads: SharedThreads = field(default_factory=lambda: SharedThreads(0))
    before: LoadedBefore | None = None
    idle_s: float = 0.0


@dataclass(slots=True, kw_only=True, eq=False)
class _Base:
    """Weights that engines share; `token_bytes` is what a token takes of a cache, once known.

    What is known of its size stays known when the weights have left.
    """

    model: ModelVersion
    bytes: int
    token_bytes: int = 0
    loading: "asyncio.Task[ModelWeights] | None" = None


@dataclass(slots=True, kw_only=True, eq=False)
class _Slot:
    """An engine's place, which the next request for the model finds.

    `bytes` is what it takes beside the base's weights and its own cache of so many tokens. `memory_grant` is what it
    was given of the memory beside its base, which is before it is loaded, so that two loads never take the same; None:
    nothing.
    """

    model: ModelVersion
    base: _Base
    bytes: int
    cache_tokens: int
    memory_grant: int | None = None
    users: int = 0
    last_used: float = 0.0
    holders: set[tuple[str, str]] = field(default_factory=set)
    names: set[LiveModel] = field(default_factory=set)
    """Which models of which projects it was asked for as."""
    stage: str = "waiting"
    loading: "asyncio.Task[TransformersEngine] | None" = None

    @property
    def engine(self) -> "TransformersEngine | None":
        """The engine, once it is loaded."""
        return _result(self.loading)

    @property
    def own_bytes(self) -> int:
        """What it takes beside the base's weights."""
        return self.bytes + self.cache_tokens * self.base.token_bytes

    @property
    def idle(self) -> bool:
        """Whether it is loaded and unused."""
        return self.users == 0 and self.engine is not None


class LoadedEngines:
    """Implements `application.ports.Engines`."""

    def __init__(self, cache: ArtifactCache, remote: RemoteEngines, live: LiveModels, options: EngineOptions) -> None:
        self._files = ModelFiles(cache)
        self._remote = remote
        self._live = live
        self._options = options
        self._slots: dict[str, _Slot] = {}
        self._bases: dict[str, _Base] = {}
        self._sweeping: asyncio.Task[None] | None = None
        self._importing: asyncio.Task[None] | None = None
        self._freeing_memory = asyncio.Lock()

    @asynccontextmanager
    async def use(self, project: str, model: ModelVersion) -> AsyncIterator[Engine]:
        """See `Engines.use`."""
        if model.remote is not None:
            async with self._remote.use(project, model.remote) as remote:
                yield ObservedEngine(remote, project=project, model=model.id)
            return
        async with self._used(project, model) as slot:
            assert slot.engine is not None  # noqa: S101 - it is loaded for the length of the block
            yield ObservedEngine(slot.engine, project=project, model=model.id)

    async def verify(self, project: str, model: ModelVersion) -> None:
        """See `Engines.verify`."""
        for each in (model, model.base):
            if each is not None and each.remote is None:
                await self._files.fetch(project, each)

    async def prepare(self, project: str, model: ModelVersion, *, holder: str) -> None:
        """See `Engines.prepare`."""
        if model.remote is not None:
            self._remote.check(project, model.remote)
            return
        async with self._used(project, model) as slot:
            slot.holders.add((project, holder))

    async def release(self, project: str, model: ModelVersion, *, holder: str) -> None:
        """See `Engines.release`. It leaves memory after `idle_s`, so that a step back finds it there."""
        if slot := self._slots.get(_key(model)):
            slot.holders.discard((project, holder))
            slot.last_used = time.monotonic()

    async def probe(self) -> None:
        """Return how far the first model is: until one is there, this process is of little use.

        Raises:
            DependencyUnavailable: no model is loaded yet, and one is on its way.

        """
        loading = [f"{slot.model.id} ({slot.stage})" for slot in self._slots.values() if slot.engine is None]
        if loading and len(loading) == len(self._slots):
            message = f"loading {', '.join(loading)}"
            raise DependencyUnavailable(message, dependency="engine")

    async def start(self) -> None:
        """Import what loads models, which takes seconds; a model itself comes with the first question for it."""
        self._importing = asyncio.create_task(asyncio.to_thread(_import_library), name="import-library")
        if self._options.idle_s:
            self._sweeping = asyncio.create_task(self._sweep(), name="idle-engines")

    async def stop(self) -> None:
        """End all engines."""
        slots, bases = list(self._slots.values()), list(self._bases.values())
        self._slots, self._bases = {}, {}
        tasks = [self._sweeping, self._importing, *(slot.loading for slot in slots), *(base.loading for base in bases)]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        engines = [engine for slot in slots if (engine := slot.engine)]
        await asyncio.gather(*(asyncio.to_thread(engine.close) for engine in engines))
        await self._remote.close()

    @asynccontextmanager
    async def _used(self, project: str, model: ModelVersion) -> AsyncIterator[_Slot]:
        """Keep a slot, with its engine running, for the length of a block.

        A caller that leaves while it is loaded does not end the load, which serves the next request.
        """
        slot = self._slots.get(_key(model)) or self._place(model)
        if len(slot.names) >= _MAX_NAMES:  # of one content, which many projects may have: those that are left suffice
            slot.names.pop()
        slot.names.add((project, model.id))
        slot.users += 1
        try:
            await self._loaded(project, model, slot)
            yield slot
        finally:
            slot.users -= 1
            slot.last_used = time.monotonic()
            self._forget_failed(slot)

    async def _loaded(self, project: str, model: ModelVersion, slot: _Slot) -> None:
        """Wait for the engine; a load that failed for another caller, whose objects are others, is tried once more."""
        mine = False
        while not mine:
            if slot.loading is None or (slot.loading.done() and not (slot.engine and slot.engine.alive)):
                mine, slot.loading = True, asyncio.create_task(self._load(project, model, slot))
                slot.loading.add_done_callback(lambda _: self._forget_failed(slot))
            try:
                await asyncio.shield(slot.loading)
            except DependencyUnavailable:
                raise  # it, or the memory, is the same for all
            except TidemillError:
                if mine:
                    raise
            else:
                return

    def _forget_failed(self, slot: _Slot) -> None:
        """Release the memory of what could not be loaded, once no request waits for it."""
        if slot.users == 0 and slot.loading is not None and slot.loading.done() and slot.engine is None:
            self._remove([slot])

    def _place(self, model: ModelVersion) -> _Slot:
        """Return a new place for a model, as large as is known before its files are here."""
        of = model.base or model
        base = self._bases.setdefault(of.digest, _Base(model=of, bytes=self._estimate(of)))
        own = self._estimate(model) if model.base else 0
        slot = _Slot(model=model, base=base, bytes=own, cache_tokens=self._limits(model).cache_tokens)
        self._slots[_key(model)] = slot
        return slot

    async def _free_memory(self, slot: _Slot) -> None:
        """Give a slot its space, for which others leave: one slot at a time.

        Raises:
            PreconditionFailed: it needs more than there is.
            DependencyUnavailable: others in use leave too little, or it is unknown which of them answer live.

        """
        async with self._freeing_memory:
            leaving = await self._leaving_for(slot)
            slot.memory_grant = slot.own_bytes
            self._remove(leaving)
            await self._close(leaving)

    async def _leaving_for(self, slot: _Slot) -> list[_Slot]:
        """Return what to evict: engines that are not kept first, the least recently used before others.

        What answers live leaves for what answers live only, and nothing does where all of it were not enough.
        """
        self._refuse_too_large(slot)
        limit, name = self._options.memory_bytes, slot.model.id
        leaving: list[_Slot] = []
        if self._taken(slot) <= limit:
            return leaving
        live = await self._answering_live()
        idle = sorted(
            (each for each in self._slots.values() if each.idle and (slot.names & live or not each.names & live)),
            key=lambda each: (bool(each.names & live), bool(each.holders), each.last_used),
        )
        while self._taken(slot, leaving) > limit:
            if not idle:
                message = (
                    f"the memory for models is used up by others in use or live: {name} cannot be loaded, try again"
                )
                raise DependencyUnavailable(message, dependency="memory", model=name)
            leaving.append(idle.pop(0))
        return leaving

    def _refuse_too_large(self, slot: _Slot) -> None:
        """Refuse what never fits; of weights that were not inspected, which may have 32 bits, half is certain."""
        limit, needed, name = self._options.memory_bytes, slot.own_bytes + slot.base.bytes, slot.model.id
        if not slot.base.token_bytes:
            needed //= 2
        if needed > limit:
            message = f"model {name} needs about {needed >> 20} MB, and {limit >> 20} MB are for models here"
            raise PreconditionFailed(message, model=name)

    async def _answering_live(self) -> frozenset[LiveModel]:
        """Return which of the models here deployments answer with."""
        return await self._live.among({name for slot in self._slots.values() for name in slot.names})

    def _taken(self, new: _Slot | None = None, leaving: Collection[_Slot] = ()) -> int:
        """Return the bytes that are taken once a slot has come and others have left."""
        staying = {each for each in self._slots.values() if each.memory_grant is not None} - {*leaving, new}
        own = sum(each.memory_grant or 0 for each in staying) + (new.own_bytes if new else 0)
        return own + sum(base.bytes for base in {each.base for each in (*staying, new) if each})

    def _remove(self, slots: Iterable[_Slot]) -> None:
        """Give up slots, and weights on which nothing stands that has space: nothing else loads or uses them."""
        for slot in slots:
            if self._slots.get(_key(slot.model)) is slot:
                del self._slots[_key(slot.model)]
        needed = {slot.base for slot in self._slots.values() if slot.memory_grant is not None}
        for base in self._bases.values():
            if base not in needed:
                base.loading = None
        used = {slot.base for slot in self._slots.values()}
        self._bases = {digest: base for digest, base in self._bases.items() if base in used}

    async def _close(self, slots: Iterable[_Slot]) -> None:
        """Close an engine that was evicted, to the end even when the caller is cancelled."""
        closed = [(slot, engine) for slot in slots if (engine := slot.engine)]
        await asyncio.shield(asyncio.gather(*(asyncio.to_thread(engine.close) for _, engine in closed)))
        for slot, _ in closed:
            slot.loading = None
            _log.info("engine_dropped", model=slot.model.id)
        await self._record_loaded()

    async def _record_loaded(self, new: _Slot | None = None) -> None:
        """Keep what is loaded for the next process, which loads it first."""
        loaded = [slot for slot in self._slots.values() if slot.engine is not None or slot is new]
        loaded.sort(key=lambda slot: (slot is new, slot.last_used), reverse=True)
        if self._options.before is not None:
            await asyncio.to_thread(self._options.before.write, [min(slot.names) for slot in loaded if slot.names])

    async def _sweep(self) -> None:
        """Drop engines that were unused and not kept for long enough, and those that do not answer live."""
        while True:
            await asyncio.sleep(min(self._options.idle_s / _SWEEPS, _MAX_SWEEP_S))
            if not self._unused():
                continue
            try:
                with isolated():
                    async with self._freeing_memory:
                        live = await self._answering_live()
                        leaving = [slot for slot in self._unused() if not slot.names & live]
                        self._remove(leaving)
                        await self._close(leaving)
            except TidemillError as error:
                _log.warning("engine_eviction_skipped", reason=error.reason, why=error.message)
            except Exception as error:  # noqa: BLE001 - one engine that does not close must not keep all others
                _log.error("idle_engine_not_closed", exc_info=error)

    def _unused(self) -> list[_Slot]:
        """Return engines that were unused and not kept for long enough; they may answer live."""
        long_ago = time.monotonic() - self._options.idle_s
        return [each for each in self._slots.values() if each.idle and not each.holders and each.last_used < long_ago]

    async def _load(self, project: str, model: ModelVersion, slot: _Slot) -> "TransformersEngine":
        """Fetch, verify, load and start; `model` is the caller's own, whose objects are of this project."""
        started, base, of = time.monotonic(), slot.base, model.base or model
        slot.stage = "fetching its files"
        folder: Path | None = None
        if not base.token_bytes:
            self._refuse_too_large(slot)
            folder = await self._base_files(project, of, base)
        await self._free_memory(slot)
        adapter_folder = await self._files.fetch(project, model) if model.base else None
        if _result(base.loading) is None:
            folder = folder or await self._base_files(project, of, base)
            if base.loading is None or (base.loading.done() and _result(base.loading) is None):
                base.loading = asyncio.create_task(self._read(folder, base))
        assert base.loading is not None  # noqa: S101 - what stands on weights, and has room, keeps them
        slot.stage, weights = "loading", await asyncio.shield(base.loading)

        def made() -> "TransformersEngine":
            from tidemill_inference.engines.transformers.engine import TransformersEngine  # noqa: PLC0415 - ditto
            from tidemill_inference.engines.transformers.lora import LoraAdapter  # noqa: PLC0415 - seconds of imports

            adapter = None
            if adapter_folder is not None:
                adapter = LoraAdapter.read(adapter_folder, name=model.id, base=of.id)
            return TransformersEngine(
                weights,
                name=model.id,
                limits=self._limits(model),
                run_chat=self._options.run_chat,
                adapter=adapter,
            )

        engine = await asyncio.to_thread(made)
        engine.start(self._options.threads)
        slot.bytes, slot.last_used = engine.adapter_bytes, time.monotonic()
        slot.memory_grant = slot.own_bytes
        _log.info(
            "engine_loaded",
            model=model.id,
            engine=engine.fingerprint,
            own_bytes=slot.own_bytes,
            shared_bytes=base.bytes,
            duration_s=round(time.monotonic() - started, 2),
        )
        await self._record_loaded(slot)
        return engine

    async def _base_files(self, project: str, model: ModelVersion, base: _Base) -> Path:
        """Return the folder with a base's verified files, which say how large it and a cache beside it will be."""
        folder = await self._files.fetch(project, model)

        def sizes() -> tuple[int, int]:
            from tidemill_inference.engines.transformers import weights as model_weights  # noqa: PLC0415 - seconds of imports

            name, dtype = model.id, model_weights.dtype_of(self._options.numeric_format)
            stored = model_weights.stored_bytes(folder, name=name, dtype=dtype)
            return stored, model_weights.token_bytes(folder, name=name, dtype=dtype)

        if not base.token_bytes:
            base.bytes, base.token_bytes = await asyncio.to_thread(sizes)
        return folder

    async def _read(self, folder: Path, base: _Base) -> "ModelWeights":
        """Read weights for all engines that share them; the caller has verified them and reserved the memory."""

        def read() -> "ModelWeights":
            from tidemill_inference.engines.transformers.weights import ModelWeights, dtype_of  # noqa: PLC0415 - ditto

            return ModelWeights(folder, name=base.model.id, dtype=dtype_of(self._options.numeric_format))

        weights = await asyncio.to_thread(read)
        base.bytes = weights.bytes
        return weights

    def _limits(self, model: ModelVersion) -> EngineLimits:
        options = self._options
        return (options.adapter_limits if model.base else None) or options.limits

    def _estimate(self, model: ModelVersion) -> int:
        """Return what a model will take, from its files: weights are stored with 16 bits, as a rule."""
        weights = sum(ref.size for path, ref in model.files.items() if path.endswith(".safetensors"))
        return weights * 2 if self._options.numeric_format == "float32" else weights


def _import_library() -> None:
    """Import what engines are made of; where that fails, the first load reports."""
    for module in ("lora", "engine"):
        with suppress(ImportError):
            import_module(f"tidemill_inference.engines.transformers.{module}")


def _key(model: ModelVersion) -> str:
    """Return what makes an engine this one: an adapter's files mean something with their base only."""
    return f"{model.base.digest}+{model.digest}" if model.base else model.digest


def _result(task: asyncio.Task[_T] | None) -> _T | None:
    """Return what a task came to, None while it runs and where it failed."""
    if task is None or not task.done() or task.cancelled() or task.exception() is not None:
        return None
    return task.result()
