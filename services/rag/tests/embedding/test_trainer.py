"""Embedding models out of the registry, within what is there for all of them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from tidemill.trainer.v1 import model_pb2
from tidemill.trainer.v1.model_registry_service_pb2_grpc import add_ModelRegistryServiceServicer_to_server
from tidemill_core.application import Caller
from tidemill_kit.models.bounded_tokenizers import BoundedTokenizers
from tidemill_rag.embedding import registry as registry_module
from tidemill_rag.embedding.registry import RegistryModels
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.tokenizer import TokenizerFacts, Tokenizers
from tidemill_rag.embedding.trainer import TrainerModels
from tidemill_rag.errors import EmbeddingUnusable, GraphMissing
from tidemill_testkit.stubs.trainer import StubModelRegistry

SHA256 = "0" * 64


def registry_of(*sizes: int) -> StubModelRegistry:
    """Return a registry with a version `<n>@1` that has n bytes of weights, for each n."""
    registry = StubModelRegistry()  # type: ignore[abstract] # it has what others call
    for size in sizes:
        files = {"config.json": 9, "tokenizer.json": 9, "model.safetensors": size}
        artifacts = [model_pb2.Artifact(path=path, size=size, sha256=SHA256) for path, size in files.items()]
        registry.add(model_pb2.ModelVersion(id=f"{size}@1", digest=str(size), artifacts=artifacts))
    return registry


class Cache:
    """Has every model on the disk."""

    async def fetch(self, *_: object) -> Path:
        return Path()


class Facts:
    """Stands for processes that read a tokenizer."""

    async def run(self, *_: object) -> Any:  # noqa: ANN401 - what the work returns
        return TokenizerFacts(special_tokens=2, prompt_tokens=0, unknown=None)


@asynccontextmanager
async def models(
    opened: list[int], *, max_bytes: int, wait: Callable[[], object] = lambda: None
) -> AsyncIterator[TrainerModels]:
    def opening(_folder: Path, _graph: object, _thread: object, _tokenizer: object, _config: object) -> Any:  # noqa: ANN401 - stands for a model
        opened.append(1)
        wait()
        return object()

    server = grpc.aio.server()
    add_ModelRegistryServiceServicer_to_server(registry_of(30, 40, 50, 101), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield TrainerModels(
            registry=RegistryModels(
                channel,
                artifacts=cast("Any", Cache()),
                bucket=cast("Any", None),
                max_loaded=3,
                max_bytes=max_bytes,
                threads=EmbeddingThreads(),
            ),
            tokenizers=Tokenizers(reading=BoundedTokenizers(Facts()), cutting=BoundedTokenizers(Facts())),
            exports=cast("Any", None),
            quantizes=False,
            open_model=opening,
        )
    await server.stop(0)


async def test_a_model_that_is_larger_than_all_may_be_is_refused_before_it_is_fetched() -> None:
    opened: list[int] = []
    async with models(opened, max_bytes=100) as registry:
        for use in (registry.resolve, registry.load):
            with pytest.raises(
                EmbeddingUnusable, match="has 101 bytes of weights; the limit for all embedding models together is 100"
            ):
                await use(Caller(project="acme"), "101@1")

    assert opened == []


async def test_the_least_recently_used_model_is_unloaded_for_another_ones_weights() -> None:
    opened: list[int] = []
    async with models(opened, max_bytes=100) as registry:
        for reference in ("50@1", "40@1", "50@1", "30@1"):  # 40 is the one to go
            await registry.load(Caller(project="acme"), reference)
        assert len(opened) == 3
        await registry.load(Caller(project="acme"), "50@1")
        assert len(opened) == 3
        await registry.load(Caller(project="acme"), "40@1")
        assert len(opened) == 4


async def test_a_model_is_loaded_for_the_next_caller_where_those_that_asked_for_it_left() -> None:
    opened: list[int] = []
    going_on = threading.Event()
    async with models(opened, max_bytes=100, wait=going_on.wait) as registry:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(registry.load(Caller(project="acme"), "50@1"), timeout=0.2)
        going_on.set()
        await registry.load(Caller(project="acme"), "50@1")

    assert len(opened) == 1


async def test_of_many_projects_that_have_the_same_model_only_so_many_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[int] = []
    monkeypatch.setattr(registry_module, "_MAX_DIGESTS", 2)
    async with models(opened, max_bytes=100) as registry:
        for project in ("a", "b", "c", "a"):
            await registry.load(Caller(project=project), "50@1")
        assert len(registry.registry._digests) == 2  # noqa: SLF001 - what is kept in memory is what is tested

    assert len(opened) == 1


class NotExported:
    """Stands for exports that fail."""

    def __init__(self, *, passing: bool) -> None:
        self.passing = passing
        self.tries = 0

    async def graph_of(self, _project: str, _folder: Path, reference: str) -> Path:
        self.tries += 1
        raise GraphMissing(reference, "cannot be exported", passing=self.passing)


async def test_what_has_no_form_yet_is_made_with_torch_where_the_model_has_no_graph_and_never_for_a_passing_cause() -> (
    None
):
    opened: list[int] = []
    refused, died = NotExported(passing=False), NotExported(passing=True)
    async with models(opened, max_bytes=100) as registry:
        never = replace(registry, exports=cast("Any", refused), quantizes=True)
        for _ in range(2):
            await never.load(Caller(project="acme"), "30@1")
        later = replace(registry, exports=cast("Any", died), quantizes=True)
        with pytest.raises(GraphMissing):
            await later.load(Caller(project="acme"), "40@1")
    assert (refused.tries, died.tries, len(opened)) == (1, 1, 1)


async def test_what_was_made_with_a_graph_is_never_compared_by_torch() -> None:
    opened: list[int] = []
    async with models(opened, max_bytes=100) as registry:
        never = replace(registry, exports=cast("Any", NotExported(passing=False)), quantizes=True)
        await never.load(Caller(project="acme"), "30@1")
        with pytest.raises(GraphMissing, match="30@1 is missing: it cannot be exported; what was made"):
            await never.load(Caller(project="acme"), "30@1", quantized=True)


async def test_a_model_is_loaded_once_in_each_form(tmp_path: Path) -> None:
    opened: list[int] = []

    class Exported:
        async def graph_of(self, *_: object) -> Path:
            return tmp_path / "graph.onnx"

    async with models(opened, max_bytes=100) as registry:
        both = replace(registry, exports=cast("Any", Exported()))
        for quantized in (True, False, True, False):
            await both.load(Caller(project="acme"), "30@1", quantized=quantized)
        assert len(opened) == 2
        await registry.load(Caller(project="acme"), "30@1", quantized=True)

    assert len(opened) == 2
