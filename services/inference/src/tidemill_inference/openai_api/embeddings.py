"""`POST /v1/embeddings`: vectors by the model of a collection ("collection:handbook"), or by one of the registry."""

import asyncio
import base64
import json
import struct
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, FailFast, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tidemill.inference.v1 import embedding_service_pb2 as pb
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput
from tidemill_inference.embeddings.ports import TEXTS_BOUND, Embedded, Embedding
from tidemill_kit.grpc.policies import policy_of
from tidemill_kit.http.bodies import Strict, body_of
from tidemill_kit.http.exchange import Exchange

Json = dict[str, Any]
_EMBED = policy_of(pb.DESCRIPTOR, "EmbeddingService/Embed")
_TOO_LONG = "TEXT_TOO_LONG"


def _as_list(given: object) -> object:
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and given and not isinstance(given[0], str):
        message = "arrays of tokens are not supported: send texts"
        raise ValueError(message)
    return given


class EmbeddingBody(Strict):
    """What `POST /v1/embeddings` takes."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    input: Annotated[list[str], FailFast(), Field(min_length=1, max_length=TEXTS_BOUND), BeforeValidator(_as_list)]
    dimensions: Annotated[int | None, Field(ge=1, le=65536)] = None
    encoding_format: Literal["float", "base64"] = "float"
    user: Annotated[str, StringConstraints(max_length=512)] = ""


class HttpEmbeddings:
    """Serves vectors."""

    def __init__(self, embed: Embedding, *, max_body_bytes: int) -> None:
        self._embed = embed
        self._max_body_bytes = max_body_bytes

    def routes(self, prefix: str) -> list[Route]:
        """Return what is served below a prefix."""
        return [Route(f"{prefix}/embeddings", self.create, methods=["POST"])]

    async def create(self, http: Request) -> Response:
        """Return the vectors of texts."""
        exchange = Exchange.of(http.scope)
        caller = await exchange.admit(_EMBED)
        body = await exchange.body(at_most=self._max_body_bytes)
        async with exchange.attended():
            asked = body_of(EmbeddingBody, body)
            embedded = await _embedded(self._embed, caller, asked)
            body = await asyncio.to_thread(_written, embedded, asked.encoding_format)
        return Response(body, media_type="application/json")


async def embeddings(embed: Embedding, caller: Caller, asked: EmbeddingBody) -> Json:
    """Return what a request is answered with.

    Raises:
        InvalidInput: names the parameters at fault as OpenAI's API calls them.

    """
    embedded = await _embedded(embed, caller, asked)
    return await asyncio.to_thread(_listed, embedded, asked.encoding_format)


async def _embedded(embed: Embedding, caller: Caller, asked: EmbeddingBody) -> Embedded:
    try:
        return await embed(caller, model=asked.model, texts=asked.input, dimensions=asked.dimensions or 0)
    except InvalidInput as error:
        raise _as_sent(error) from error


def _listed(embedded: Embedded, encoding: str) -> Json:
    return {**_head(embedded), "data": list(_data(embedded, encoding))}


def _written(embedded: Embedded, encoding: str) -> bytes:
    """Return the reply as JSON, written vector by vector: nothing else of the process runs while one is written."""
    data = ",".join(json.dumps(each) for each in _data(embedded, encoding))
    return f'{json.dumps(_head(embedded))[:-1]}, "data": [{data}]}}'.encode()


def _head(embedded: Embedded) -> Json:
    usage = {"prompt_tokens": embedded.input_tokens, "total_tokens": embedded.input_tokens}
    return {"object": "list", "model": embedded.model, "usage": usage}


def _data(embedded: Embedded, encoding: str) -> Iterator[Json]:
    for index, vector in enumerate(embedded.vectors):
        shown = _base64(vector) if encoding == "base64" else vector
        yield {"object": "embedding", "index": index, "embedding": shown}


def _base64(vector: Any) -> str:  # noqa: ANN401 - numbers
    """Return 32-bit floats, little-endian, as OpenAI's clients read them."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _as_sent(error: InvalidInput) -> InvalidInput:
    """Return the error with its fields called as this caller called them."""
    refusal = error.renamed(lambda field: field.replace("texts", "input"))
    if refusal.reason == _TOO_LONG:
        refusal.reason = "CONTEXT_LENGTH_EXCEEDED"  # OpenAI's own word
    return refusal
