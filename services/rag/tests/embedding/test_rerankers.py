"""Rerankers out of the registry, which they share with embedding models."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from services.rag.tests.embedding.test_trainer import Cache, Facts, registry_of
from tidemill.trainer.v1.model_registry_service_pb2_grpc import add_ModelRegistryServiceServicer_to_server
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller
from tidemill_kit.models.bounded_tokenizers import BoundedTokenizers
from tidemill_rag.embedding.cross_encoder import CrossEncoderConfig
from tidemill_rag.embedding.registry import RegistryModels
from tidemill_rag.embedding.thread import EmbeddingThreads
from tidemill_rag.embedding.tokenizer import PairTokenizer, Tokenizers
from tidemill_rag.embedding.trainer import TrainerModels, TrainerRerankers
from tidemill_rag.errors import RerankerUnusable

ADA = Caller(project="acme")
CONFIG: dict[str, object] = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}


class Bucket:
    """Has the config of every model."""

    def __init__(self) -> None:
        self.config: dict[str, object] = dict(CONFIG)

    async def get(self, _: ObjectRef) -> bytes:
        return json.dumps(self.config).encode()


class OnDisk(Cache):
    """Has every model with its config in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "config.json").write_text(json.dumps(CONFIG))

    async def fetch(self, *_: object) -> Path:
        return self.folder


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[RegistryModels]:
    server = grpc.aio.server()
    add_ModelRegistryServiceServicer_to_server(registry_of(30, 101), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield RegistryModels(
            channel,
            artifacts=cast("Any", OnDisk(tmp_path)),
            bucket=cast("Any", Bucket()),
            max_loaded=2,
            max_bytes=100,
            threads=EmbeddingThreads(),
        )
    await server.stop(0)


def rerankers(registry: RegistryModels, opened: list[int]) -> TrainerRerankers:
    def opening(_folder: Path, _threads: object, tokenizer: PairTokenizer, config: CrossEncoderConfig) -> Any:  # noqa: ANN401 - stands for a model
        assert tokenizer.name == "30@1"
        opened.append(config.max_tokens)
        return object()

    tokenizers = Tokenizers(reading=BoundedTokenizers(Facts()), cutting=BoundedTokenizers(Facts()))
    return TrainerRerankers(registry=registry, tokenizers=tokenizers, open_model=opening)


async def test_a_cross_encoder_is_accepted_and_other_models_are_refused_by_what_they_are(
    registry: RegistryModels,
) -> None:
    checked, bucket = rerankers(registry, []), cast("Bucket", registry._bucket)  # noqa: SLF001 - what the fixture gave
    await checked.check(ADA, "30@1")

    with pytest.raises(RerankerUnusable, match="has 101 bytes of weights"):
        await checked.check(ADA, "101@1")
    for wrong in ({"architectures": ["BertModel"]}, {"id2label": {"0": "no", "1": "yes"}}):
        bucket.config = CONFIG | wrong
        with pytest.raises(RerankerUnusable, match="is no cross-encoder") as refused:
            await checked.check(ADA, "30@1")
        assert [each.field for each in refused.value.violations] == ["search.rerank.model"]


async def test_one_model_is_loaded_once_as_a_reranker_and_once_as_an_embedding_model(registry: RegistryModels) -> None:
    opened: list[int] = []
    loaded = rerankers(registry, opened)
    embedding = TrainerModels(
        registry=registry,
        tokenizers=loaded.tokenizers,
        exports=cast("Any", None),
        quantizes=False,
        open_model=lambda *_: cast("Any", "embedding"),
    )

    first, again = await loaded.load(ADA, "30@1"), await loaded.load(Caller(project="globex"), "30@1")

    assert first is again
    assert opened == [512]
    assert await embedding.load(ADA, "30@1") == cast("Any", "embedding")
    assert await loaded.load(ADA, "30@1") is first
