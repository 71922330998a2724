"""The metrics that a gate may require of answers."""

from typing import Annotated, Literal

from pydantic import Field

from tidemill_cli.loop.judges import JudgeMetric
from tidemill_cli.loop.shapes import SLUG

_SLUG = SLUG.removeprefix("^").removesuffix("$")
FixedMetric = Literal[
    "rouge_l",
    "token_f1",
    "citation_valid",
    "output_chars",
    "exact_match",
    "bleu",
    "chrf",
    "meteor",
    "json_valid",
    "json_schema",
    "code_runs",
    "refusal",
    "lix",
    "latency_s",
    "cost",
    "output_tokens",
    "expectation_met",
    "expectation_gap",
]
EmbeddingMetric = Annotated[
    str,
    Field(
        pattern=(
            "^(embedding_similarity|answer_relevance|faithfulness|context_precision|context_recall):"
            f"(collection:{_SLUG}|{_SLUG}(@[1-9][0-9]{{0,8}})?)$"
        ),
        description="by an embedding model: embedding_similarity:MODEL, or :collection:NAME for that of a collection",
    ),
]
AnswerMetric = FixedMetric | JudgeMetric | EmbeddingMetric
