"""Engines on a store of the test's own, and models to load into them."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from services.inference.tests.engines.operator_keys import OperatorKeys
from services.inference.tests.tiny_model import write_tiny_adapter, write_tiny_model
from tidemill_core.aggregate import ObjectRef
from tidemill_core.errors import DependencyUnavailable
from tidemill_core.models.manifest import Manifest
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.chat_prompts import ChatFormat, Turn, rendered, tokens_of
from tidemill_inference.engines.grammars import GrammarRefused, refusal
from tidemill_inference.engines.limits import EngineLimits
from tidemill_inference.engines.loading import EngineOptions
from tidemill_inference.engines.memory import EngineMemory
from tidemill_inference.engines.pool import LoadedEngines
from tidemill_inference.engines.ports import Engine, LiveModel, ModelVersion, Prompt
from tidemill_inference.engines.remote import RemoteEngines, RemoteOptions
from tidemill_inference.engines.transformers.engine import TransformersEngine
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_kit.models.bounded_tokenizers import with_tokenizer
from tidemill_kit.store.objects import ExchangeBucket
from tidemill_testkit.objects import InMemoryObjects

MB = 1024 * 1024
BUCKET = "exchange"


class ChatHere:
    """Implements `ChatRunner` without processes of its own."""

    def __init__(self) -> None:
        self.projects: list[str] = []

    async def render(
        self, project: str, how: ChatFormat, turns: Sequence[Turn], tools: Sequence[Turn] = (), *, name: str
    ) -> str:
        self.projects.append(project)
        text = rendered(how, turns, tools)
        assert text is not None, name
        return text

    async def encode(self, project: str, tokenizer: Path, text: str, *, name: str) -> list[int]:
        self.projects.append(project)
        assert name
        return with_tokenizer(tokenizer, tokens_of, text)

    async def check(self, project: str, grammar: str) -> None:
        self.projects.append(project)
        if found := refusal(grammar):
            raise GrammarRefused(why=found)


def inner(engine: Engine) -> TransformersEngine:
    """Return the local engine behind what is handed out."""
    found = engine._engine.shared  # type: ignore[attr-defined] # noqa: SLF001 - to tell one from another
    assert isinstance(found, TransformersEngine)
    return found


class Live:
    """Implements `ports.LiveModels`: what a test says."""

    def __init__(self) -> None:
        self.now: set[LiveModel] = set()
        self.asked = 0
        self.down = False

    async def among(self, models: Iterable[LiveModel]) -> frozenset[LiveModel]:
        self.asked += 1
        await asyncio.sleep(0)
        if self.down:
            message = "it is down"
            raise DependencyUnavailable(message, dependency="mongodb")
        return frozenset(self.now) & frozenset(models)


@dataclass
class Shop:
    """Engines, and models to load into them."""

    engines: LoadedEngines
    live: Live
    chat: ChatHere
    objects: InMemoryObjects
    folder: Path

    @property
    def memory(self) -> EngineMemory:
        """The engines' memory."""
        return self.engines._memory  # noqa: SLF001 - no other part of the service reads it

    @property
    def taken(self) -> int:
        """The bytes of all weights and caches."""
        return self.memory.taken_bytes()

    def reconfigure(self, **changes: object) -> None:
        """Change options of the running engines."""
        options = replace(self.engines._options, **changes)  # type: ignore[arg-type] # noqa: SLF001 - the test says what
        self.engines._options = self.engines._loader._options = options  # noqa: SLF001 - set once otherwise
        self.memory._limit = options.memory_bytes  # noqa: SLF001 - ditto

    @property
    def held(self) -> list[str]:
        """The models in memory."""
        return [each.model.id for each in self.memory.engines]

    @property
    def weights_held(self) -> list[str]:
        """The models whose weights are in memory."""
        return [each.model.id for each in self.memory.weights if each.loading]

    async def model(self, name: str, *, seed: int = 1, project: str = "acme") -> ModelVersion:
        folder = self.folder / name
        await asyncio.to_thread(write_tiny_model, folder, seed=seed)
        return await self.stored(name, folder, project=project)

    async def adapter(self, name: str, base: ModelVersion, *, seed: int = 1, **settings: Any) -> ModelVersion:  # noqa: ANN401 - of peft
        folder, of = self.folder / name, self.folder / base.id.partition("@")[0]
        await asyncio.to_thread(write_tiny_adapter, folder, of, seed=seed, **settings)
        return replace(await self.stored(name, folder), base=base)

    async def stored(self, name: str, folder: Path, *, project: str = "acme") -> ModelVersion:
        manifest, files = Manifest.from_folder(folder), {}
        for file in manifest.files:
            key = f"{project}/{name}/{file.sha256}"
            await self.objects.put(BUCKET, key, (folder / file.path).read_bytes(), media_type="x")
            files[file.path] = ObjectRef(bucket=BUCKET, key=key, size=file.size, sha256=file.sha256)
        return ModelVersion(id=f"{name}@1", digest=manifest.digest, files=files)

    async def said(self, model: ModelVersion, text: str, *, tokens: int = 24) -> str:
        """Return what a model greedily answers."""
        sampling = Sampling(temperature=0.0, max_output_tokens=tokens)
        async with self.engines.use("acme", model) as engine:
            pieces = engine.generate(Prompt(messages=(Message.of(Role.USER, text),), sampling=sampling), timeout_s=60)
            return "".join([getattr(piece, "text", "") async for piece in pieces])


def a_shop(
    folder: Path, *, memory_bytes: int = 100 * MB, idle_s: float = 0.0, limits: EngineLimits | None = None
) -> Shop:
    objects, chat = InMemoryObjects(BUCKET), ChatHere()
    (folder / "cache").mkdir()
    options = EngineOptions(
        numeric_format="float32",
        memory_bytes=memory_bytes,
        run_chat=chat,
        limits=limits or EngineLimits(cache_tokens=1024, batch=8),
        idle_s=idle_s,
    )
    cache = ArtifactCache(folder / "cache", ExchangeBucket(objects, BUCKET))
    live = Live()
    remote = RemoteEngines(OperatorKeys(), RemoteOptions())
    return Shop(LoadedEngines(cache, remote, live, options), live, chat, objects, folder)
