"""The memory of local models: how much each takes, and which are unloaded for another. Loads and unloads nothing."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from tidemill_core.errors import Blame, DependencyUnavailable, PreconditionFailed
from tidemill_inference.engines.ports import Capability, Generated, LiveModel, ModelVersion, Prompt

_MAX_NAMES = 1000
"""Projects and models kept per content: with more of them, any subset shows whether the content serves live."""

_T = TypeVar("_T")


class Base(Protocol):
    """What a base model's engine and those of its adapters share once it is loaded: weights, or a server."""

    bytes: int

    async def aclose(self) -> None:
        """Let it go; idempotent."""
        ...


class SharedEngine(Protocol):
    """A `ports.Engine` that projects share: each call names its own."""

    context_tokens: int
    fingerprint: str
    capabilities: frozenset[Capability]
    adapter_bytes: int

    @property
    def alive(self) -> bool:
        """False once it has ended for good."""
        ...

    @property
    def serving(self) -> bool:
        """Whether it answers, or its next request makes it."""
        ...

    async def count_tokens(self, project: str, prompt: Prompt) -> int:
        """See `Engine.count_tokens`."""
        ...

    def generate(self, project: str, prompt: Prompt, *, timeout_s: float) -> AsyncGenerator[Generated, None]:
        """See `Engine.generate`."""
        ...

    async def aclose(self) -> None:
        """End it; requests under way fail."""
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class SharedWeights:
    """The weights of a base model, which its own engine and those of its adapters share.

    `token_bytes` is the size of one token in a KV cache, 0 until the files were read. Sizes stay known after unloading.
    """

    model: ModelVersion
    bytes: int
    token_bytes: int = 0
    loading: asyncio.Task[Base] | None = None

    @property
    def loaded(self) -> Base | None:
        """The weights, once they are in memory."""
        return _result(self.loading)

    @property
    def failed(self) -> bool:
        """Whether they have to be read, for the first time or again."""
        return self.loading is None or (self.loading.done() and self.loaded is None)


@dataclass(slots=True, kw_only=True, eq=False)
class PlacedEngine:
    """A local model in use, loading or loaded: what the next request for the same content finds.

    `bytes` is its size without the shared weights and without the KV cache of `cache_tokens`. `granted_bytes` is the
    memory reserved for it before it is loaded, so that two loads never count on the same memory; None: nothing yet.
    """

    model: ModelVersion
    weights: SharedWeights
    bytes: int
    cache_tokens: int
    granted_bytes: int | None = None
    users: int = 0
    last_used: float = 0.0
    holders: set[tuple[str, str]] = field(default_factory=set)
    names: set[LiveModel] = field(default_factory=set)
    """The projects and models that have requested this content."""
    stage: str = "waiting"
    loading: asyncio.Task[SharedEngine] | None = None

    @property
    def engine(self) -> SharedEngine | None:
        """The engine, once it is loaded."""
        return _result(self.loading)

    @property
    def own_bytes(self) -> int:
        """Its size without the shared weights."""
        return self.bytes + self.cache_tokens * self.weights.token_bytes

    @property
    def idle(self) -> bool:
        """Whether it is loaded and unused."""
        return self.users == 0 and self.engine is not None

    @property
    def failed(self) -> bool:
        """Whether its load has failed."""
        return self.loading is not None and self.loading.done() and self.engine is None

    @property
    def has_to_load(self) -> bool:
        """Whether it has to be loaded, for the first time, or again after a failure or the end of its thread."""
        return self.loading is None or (self.loading.done() and not (self.engine and self.engine.alive))

    @property
    def projects(self) -> frozenset[str]:
        """The projects that have requested it, and those whose files it is made of."""
        return self.model.owners | {project for project, _ in self.names}

    def forget(self, project: str) -> bool:
        """Drop a project's names and holds; return whether its content is left to no other project."""
        self.holders = {each for each in self.holders if each[0] != project}
        others = {each for each in self.names if each[0] != project}
        if not others or project in self.model.owners:
            return True
        self.names = others
        return False

    def requested_as(self, name: LiveModel) -> None:
        """Record a project and the name of this content there."""
        if len(self.names) >= _MAX_NAMES:
            self.names.pop()
        self.names.add(name)


class EngineMemory:
    """The engines and shared weights of this process within a limit, and the policy by which engines are evicted."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._engines: dict[str, PlacedEngine] = {}
        self._weights: dict[str, SharedWeights] = {}

    @property
    def engines(self) -> tuple[PlacedEngine, ...]:
        """All engines, loaded or not."""
        return tuple(self._engines.values())

    @property
    def weights(self) -> tuple[SharedWeights, ...]:
        """The weights of all engines."""
        return tuple(self._weights.values())

    def find(self, model: ModelVersion) -> PlacedEngine | None:
        """Return the engine of a model's content, if there is one."""
        return self._engines.get(_key(model))

    def place(self, model: ModelVersion, *, weights_bytes: int, own_bytes: int, cache_tokens: int) -> PlacedEngine:
        """Add an engine with estimated sizes, as long as its files are not read."""
        base = model.base or model
        weights = self._weights.setdefault(_key(base), SharedWeights(model=base, bytes=weights_bytes))
        placed = PlacedEngine(model=model, weights=weights, bytes=own_bytes, cache_tokens=cache_tokens)
        self._engines[_key(model)] = placed
        return placed

    def remove(self, engines: Iterable[PlacedEngine]) -> list[asyncio.Task[Base]]:
        """Remove engines, and return the weights that no engine with granted memory shares, which are unloaded."""
        for engine in engines:
            if self.find(engine.model) is engine:
                del self._engines[_key(engine.model)]
        needed = {engine.weights for engine in self.engines if engine.granted_bytes is not None}
        unloaded = [weights.loading for weights in self.weights if weights not in needed and weights.loading]
        for weights in self.weights:
            if weights not in needed:
                weights.loading = None
        used = {engine.weights for engine in self.engines}
        self._weights = {digest: weights for digest, weights in self._weights.items() if weights in used}
        return unloaded

    def clear(self) -> tuple[Collection[PlacedEngine], Collection[SharedWeights]]:
        """Remove everything, and return it."""
        engines, weights = self.engines, self.weights
        self._engines, self._weights = {}, {}
        return engines, weights

    def taken_bytes(self, new: PlacedEngine | None = None, evicted: Collection[PlacedEngine] = ()) -> int:
        """Return the granted memory, with a new engine and without evicted ones."""
        staying = {each for each in self.engines if each.granted_bytes is not None} - {*evicted, new}
        own = sum(each.granted_bytes or 0 for each in staying) + (new.own_bytes if new else 0)
        return own + sum(weights.bytes for weights in {each.weights for each in (*staying, new) if each})

    def refuse_too_large(self, engine: PlacedEngine) -> None:
        """Refuse a model that exceeds the limit alone.

        Before its files were read the estimate assumes 32 bits, of which at least half is certain.

        Raises:
            PreconditionFailed: it does.

        """
        needed, name = engine.own_bytes + engine.weights.bytes, engine.model.id
        if not engine.weights.token_bytes:
            needed //= 2
        if needed > self._limit:
            message = f"model {name} needs about {needed >> 20} MB, but the limit for models is {self._limit >> 20} MB"
            raise PreconditionFailed(message, model=name)

    def fits(self, engine: PlacedEngine) -> bool:
        """Return whether an engine fits beside all others."""
        return self.taken_bytes(engine) <= self._limit

    def evicted_for(self, engine: PlacedEngine, live: Collection[LiveModel]) -> list[PlacedEngine]:
        """Return the engines to evict for another one: unheld ones first, then the least recently used.

        What serves live is evicted only for what serves live. If all of them were not enough, none is evicted.

        Raises:
            DependencyUnavailable: the engines in use or live leave too little memory.

        """
        serves, evicted = engine.names.intersection(live), list[PlacedEngine]()
        idle = sorted(
            (each for each in self.engines if each.idle and (serves or each.names.isdisjoint(live))),
            key=lambda each: (not each.names.isdisjoint(live), bool(each.holders), each.last_used),
        )
        while self.taken_bytes(engine, evicted) > self._limit:
            if not idle:
                name = engine.model.id
                message = f"no memory for model {name}: models that are in use or live fill the limit; try again"
                raise DependencyUnavailable(message, dependency="memory", blame=Blame.CAPACITY, model=name)
            evicted.append(idle.pop(0))
        return evicted

    def unused(self, *, since: float) -> list[PlacedEngine]:
        """Return the engines that are unheld and were not used since then; they may serve live."""
        return [each for each in self.engines if each.idle and not each.holders and each.last_used < since]

    def names(self) -> set[LiveModel]:
        """Return the projects and models that have requested any of the engines."""
        return {name for engine in self.engines for name in engine.names}

    def loaded_names(self, new: PlacedEngine | None = None) -> list[tuple[str, str, str]]:
        """Return a name and the kind of each loaded engine: of `new`, about to be, first, then by last use."""
        loaded = [each for each in self.engines if each.engine is not None or each is new]
        loaded.sort(key=lambda each: (each is new, each.last_used), reverse=True)
        return [(*min(each.names), each.model.engine) for each in loaded if each.names]


def _key(model: ModelVersion) -> str:
    """Return the identity of an engine: an adapter's files mean something with their base only."""
    digests = f"{model.base.digest}+{model.digest}" if model.base else model.digest
    return f"{model.engine} {digests}"


def _result(task: asyncio.Task[_T] | None) -> _T | None:
    """Return a task's result, None while it runs and if it failed."""
    if task is None or not task.done() or task.cancelled() or task.exception() is not None:
        return None
    return task.result()
