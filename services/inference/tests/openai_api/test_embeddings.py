"""Vectors by OpenAI's own client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest

from services.inference.tests.batches.batch_harness import FakeEmbedder
from services.inference.tests.openai_api.apis import ApiClient, ScriptedAnswers, open_api
from tidemill_inference.embeddings.embed import EmbedTexts
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
