"""What deployments and arms of experiments say of an answer: retrieval and sampling, and the messages they become."""

from typing import Annotated, Any

from pydantic import Field

from tidemill.inference.v1 import configuration_pb2 as pb
from tidemill_cli.loop.shapes import Declared, SharedReference, SharedSlug
from tidemill_client.values import struct_of


class Retrieval(Declared):
    """Retrieval of passages."""

    collection: SharedSlug
    top_k: Annotated[int, Field(ge=1, le=100)] = 3
    index: Annotated[int, Field(ge=1)] | None = None
    filter: dict[str, Any] = Field(default_factory=dict)
    min_score: Annotated[
        float, Field(ge=0, le=1, description="passages with a lower score are dropped; 0 keeps all")
    ] = 0.0
    query_turns: Annotated[
        int, Field(ge=1, le=10, description="number of most recent user messages in the search query")
    ] = 3
    rewrite: Annotated[
        SharedReference | None, Field(description="the model that rewrites a question with what was said before it")
    ] = None
    other_collections: Annotated[
        list[SharedSlug], Field(max_length=9, description="further collections that are searched with the question")
    ] = Field(default_factory=list)
    query_variants: Annotated[
        int, Field(ge=0, le=5, description="other wordings of the question, by the model of rewrite, to search with")
    ] = 0


class Sampling(Declared):
    """Sampling parameters."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None
    stop: Annotated[list[str], Field(max_length=4)] = Field(default_factory=list)
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None


def retrieval_message(part: Retrieval) -> pb.Retrieval:
    """Return the message."""
    return pb.Retrieval(
        collection=part.collection,
        top_k=part.top_k,
        index=part.index or 0,
        metadata_filter=struct_of(part.filter) if part.filter else None,
        min_score=part.min_score,
        query_turns=part.query_turns,
        rewrite=part.rewrite or "",
        other_collections=part.other_collections,
        query_variants=part.query_variants,
    )


def sampling_message(part: Sampling) -> pb.Sampling:
    """Return the message."""
    return pb.Sampling(**part.model_dump(exclude_none=True))
