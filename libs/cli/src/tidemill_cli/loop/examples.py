"""The key examples of a deployment in loop.yaml, and the message that it becomes."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tidemill.inference.v1 import examples_pb2
from tidemill_cli.loop.shapes import SLUG, Declared, Reference


class ShownExamples(Declared):
    """Examples of a dataset's train part that stand before each question; a change makes another configuration."""

    dataset: Annotated[
        str,
        Field(
            pattern=SLUG.replace("$", "(@([1-9][0-9]{0,8}|latest))?$"),
            description="dataset or dataset@latest, the newest version when applied, or dataset@3",
        ),
    ]
    count: Annotated[int, Field(ge=1, le=8)] = 4
    by: Literal["similarity", "random"] = "similarity"
    embedding: Annotated[Reference | None, Field(description="embeds questions; with by: similarity alone")] = None
    max_tokens: Annotated[int, Field(ge=1, le=100_000, description="of all examples together")] = 600
    min_similarity: Annotated[float, Field(gt=0, le=1, description="the lowest cosine similarity of questions")] = 0.3
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @model_validator(mode="after")
    def _has_an_embedding_to_compare_with(self) -> Self:
        if (self.by == "similarity") != (self.embedding is not None):
            wrong = "is required with by: similarity" if self.embedding is None else "goes with by: similarity alone"
            message = f"embedding {wrong}"
            raise ValueError(message)
        return self


def examples_of(part: ShownExamples) -> examples_pb2.Examples:
    """Return the message."""
    return examples_pb2.Examples(
        dataset=part.dataset,
        count=part.count,
        by=examples_pb2.ExampleSelection.Value(f"EXAMPLE_SELECTION_{part.by.upper()}"),
        embedding=part.embedding or "",
        max_tokens=part.max_tokens,
        min_similarity=part.min_similarity,
        seed=part.seed,
    )
