"""Vectors by OpenAI's own client."""

import json
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from services.inference.tests.batches.batch_harness import FakeEmbedder
from services.inference.tests.fakes import ADA
from services.inference.tests.openai_api.apis import ApiClient, ScriptedAnswers, open_api
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput
from tidemill_inference.embeddings.embed import EmbedTexts
from tidemill_inference.embeddings.ports import Embedded
from tidemill_inference.openai_api import embeddings
from tidemill_inference.openai_api.embeddings import HttpEmbeddings


@asynccontextmanager
async def api_with_embeddings(embedder: FakeEmbedder | None = None) -> AsyncIterator[ApiClient]:
    embed = EmbedTexts(embedder=embedder or FakeEmbedder())
    further = [HttpEmbeddings(embed, max_body_bytes=100_000)]
    async with open_api(ScriptedAnswers(), further=further) as api:
        yield api


@pytest.mark.parametrize("model", ["words", "collection:handbook"])
@pytest.mark.parametrize("encoding", ["float", "base64", None])
async def test_a_text_is_embedded_in_each_encoding(model: str, encoding: str | None) -> None:
    async with api_with_embeddings() as api:
        options = {"encoding_format": encoding} if encoding else {}
        given = await api.openai.embeddings.create(model=model, input="a tree", **options)  # type: ignore[arg-type] # one of two

    [found] = given.data
    vector = found.embedding
    if encoding == "base64":
        import base64  # noqa: PLC0415
        import struct  # noqa: PLC0415

        vector = list(struct.unpack("<3f", base64.b64decode(str(vector))))
    assert vector == pytest.approx([0.6, 0.0, 0.8])
    assert (given.model, given.usage.prompt_tokens, given.usage.total_tokens) == ("words@1", 2, 2)


async def test_many_texts_keep_their_order_and_are_asked_some_at_a_time() -> None:
    embedder = FakeEmbedder()
    texts = [f"tree {n}" if n % 2 else f"{n}" for n in range(130)]
    async with api_with_embeddings(embedder) as api:
        given = await api.openai.embeddings.create(model="words", input=texts)

    assert embedder.calls == [64, 64, 2]
    assert [each.index for each in given.data] == list(range(130))
    assert [each.embedding[2] > 0 for each in given.data] == [bool(n % 2) for n in range(130)]


async def test_more_texts_than_a_request_may_have_are_refused_by_the_setting() -> None:
    embed = EmbedTexts(embedder=FakeEmbedder(), max_texts=2)

    with pytest.raises(InvalidInput, match="texts: has 3; send 1 to 2, or have INFERENCE_EMBEDDING_MAX_TEXTS raised"):
        await embed(ADA, model="words", texts=["a", "b", "c"])


async def test_a_long_reply_is_written_vector_by_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[object] = []

    def dumps(value: object) -> str:
        written.append(value)
        return json.dumps(value)

    monkeypatch.setattr(embeddings, "json", SimpleNamespace(dumps=dumps))
    async with api_with_embeddings() as api:
        texts = ["a tree", "none", "a tree"]
        given = await api.openai.embeddings.create(model="words", input=texts, encoding_format="float")

    assert [each.embedding for each in given.data] == [[0.6, 0.0, 0.8], [1.0, 0.0, 0.0], [0.6, 0.0, 0.8]]
    assert (given.model, given.object, len(written)) == ("words@1", "list", 4)


async def test_vectors_are_cut_aside() -> None:
    threads: set[int] = set()

    class Vector(list[float]):
        def __getitem__(self, at: Any) -> Any:  # noqa: ANN401 - as lists have it
            threads.add(threading.get_ident())
            return super().__getitem__(at)

    class Embedder(FakeEmbedder):
        async def embed(self, caller: Caller, *, model: str, collection: str, texts: Sequence[str]) -> Embedded:
            assert (caller, model, collection) == (ADA, "words", "")
            return Embedded(model="words@1", vectors=[Vector([3.0, 4.0, 0.0]) for _ in texts], input_tokens=1)

    found = await EmbedTexts(embedder=Embedder())(ADA, model="words", texts=["a", "b"], dimensions=2)

    assert [list(each) for each in found.vectors] == [[0.6, 0.8], [0.6, 0.8]]
    assert threads
    assert threading.get_ident() not in threads


async def test_fewer_dimensions_are_scaled_to_length_one() -> None:
    async with api_with_embeddings() as api:
        given = await api.openai.embeddings.create(model="words", input="a tree", dimensions=2)

    assert given.data[0].embedding == pytest.approx([1.0, 0.0])


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"input": [[1, 2, 3]]}, "input", "invalid_input"),
        ({"input": [1, 2]}, "input", "invalid_input"),
        ({"input": []}, "input", "invalid_input"),
        ({"input": ["a", " "]}, "input[1]", "invalid_input"),
        ({"input": ["a"] * 70 + ["word " * 10]}, "input[70]", "context_length_exceeded"),
        ({"dimensions": 4}, "dimensions", "invalid_input"),
        ({"encoding_format": "int8"}, "encoding_format", "invalid_input"),
        ({"truncate": True}, "truncate", "invalid_input"),
        ({"model": ""}, "model", "invalid_input"),
    ],
)
async def test_what_cannot_be_embedded_is_refused_by_the_parameter(
    changes: dict[str, object], param: str, code: str
) -> None:
    async with api_with_embeddings() as api:
        response = await api.http.post("/v1/embeddings", json={"model": "words", "input": "a", **changes})

    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, param, code)


async def test_a_model_that_is_not_there_is_404() -> None:
    async with api_with_embeddings() as api:
        with pytest.raises(openai.NotFoundError):
            await api.openai.embeddings.create(model="absent", input="a")
