"""Metrics of what texts mean: how near their vectors are, by an embedding model that the metric names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from tidemill_core.resources import SLUG
from tidemill_evaluator.metrics.domain.metric import GivenAnswer, Metric, Need
from tidemill_evaluator.suites.domain.cases import Case

Vector = Sequence[float]
COLLECTION = "collection:"
"""Before the name of a collection, whose live index names the model."""
_SOURCE = re.compile(rf"(?:{COLLECTION}(?:{SLUG.pattern})|(?:{SLUG.pattern})(?:@[1-9][0-9]{{0,8}})?)")
_ENDS = re.compile(r"(?<=[.!?\u061f\u0964])\s+|(?<=[\u3002\uff01\uff1f])|\n+")
"""After the marks that end a sentence: of scripts with spaces where one follows."""


class EmbeddingScore(Enum):
    """What is near what."""

    EMBEDDING_SIMILARITY = "embedding_similarity"
    BERT_SCORE = "bert_score"
    ANSWER_RELEVANCE = "answer_relevance"
    FAITHFULNESS = "faithfulness"
    CONTEXT_PRECISION = "context_precision"
    CONTEXT_RECALL = "context_recall"


_SOURCES = {
    EmbeddingScore.EMBEDDING_SIMILARITY: "cosine of answer and reference (Reimers and Gurevych 2019)",
    EmbeddingScore.BERT_SCORE: "F1 of the nearest tokens of answer and reference (Zhang et al. 2020)",
    EmbeddingScore.ANSWER_RELEVANCE: "cosine of answer and question",
    EmbeddingScore.FAITHFULNESS: "how near each sentence of the answer is to one of the passages, on average",
    EmbeddingScore.CONTEXT_PRECISION: "how near the passages are to the reference, the first ones first",
    EmbeddingScore.CONTEXT_RECALL: "how near each sentence of the reference is to one of the passages, on average",
}
_COMPARED_WITH_REFERENCE = frozenset(
    {
        EmbeddingScore.EMBEDDING_SIMILARITY,
        EmbeddingScore.BERT_SCORE,
        EmbeddingScore.CONTEXT_PRECISION,
        EmbeddingScore.CONTEXT_RECALL,
    }
)
NAMES = [f"{each.value}:MODEL" for each in EmbeddingScore]
"""Of all of them, for people: MODEL is `model`, `model@version`, or `collection:NAME`."""


@dataclass(frozen=True, slots=True)
class EmbeddingMetric:
    """A score, and the model that embeds: `model`, `model@version`, or `collection:NAME`."""

    score: EmbeddingScore
    model: str

    @property
    def metric(self) -> Metric:
        """Return the metric."""
        needs = frozenset({Need.REFERENCE}) if self.score in _COMPARED_WITH_REFERENCE else frozenset[Need]()
        return Metric(name=f"{self.score.value}:{self.model}", source=_SOURCES[self.score], needs=needs)


def embedding_metric_in(name: str) -> EmbeddingMetric | None:
    """Return what a metric's name says; None of all other metrics."""
    score, _, model = name.partition(":")
    if not _SOURCE.fullmatch(model):
        return None
    return next((EmbeddingMetric(each, model) for each in EmbeddingScore if each.value == score), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedTexts:
    """The texts of one side of a case that are embedded; none of them is blank."""

    answer: str
    question: str
    reference: str
    of_answer: Sequence[str]
    """Its sentences."""
    of_reference: Sequence[str]
    passages: Sequence[Sequence[str]]
    """The sentences of each, best first."""

    @classmethod
    def of(cls, case: Case, answered: GivenAnswer, *, max_sentences: int) -> "EmbeddedTexts":
        """Return the texts of a side, of which passages have so many sentences together, and others each."""
        given = [each for each in answered.passages if each.strip()][:max_sentences]
        of_passage = max_sentences // len(given) if given else 0
        return cls(
            answer=answered.text.strip(),
            question=case.question.strip(),
            reference=case.reference.strip(),
            of_answer=sentences_of(answered.text, most=max_sentences),
            of_reference=sentences_of(case.reference, most=max_sentences),
            passages=[sentences_of(each, most=of_passage) for each in given],
        )

    def needed(self, score: EmbeddingScore) -> Sequence[str]:
        """Return the texts whose vectors a score needs; none where there is nothing to compare."""
        passages = [sentence for passage in self.passages for sentence in passage]
        both: tuple[Sequence[str], Sequence[str]]
        match score:
            case EmbeddingScore.BERT_SCORE:
                return []  # of tokens, not of texts
            case EmbeddingScore.EMBEDDING_SIMILARITY:
                both = [self.answer], [self.reference]
            case EmbeddingScore.ANSWER_RELEVANCE:
                both = [self.answer], [self.question]
            case EmbeddingScore.FAITHFULNESS:
                both = self.of_answer, passages
            case EmbeddingScore.CONTEXT_PRECISION | EmbeddingScore.CONTEXT_RECALL:
                both = self.of_reference, passages
        return [*both[0], *both[1]] if all(both) and all(map(all, both)) else []


def sentences_of(text: str, *, most: int) -> Sequence[str]:
    """Return the sentences of a text; where there are more, neighbours together.

    They are cut to be embedded, so that where exactly one ends matters little.
    """
    found = [stripped for each in _ENDS.split(text) if (stripped := each.strip())]
    if len(found) <= most:
        return found
    together = -(-len(found) // most)
    return [" ".join(found[start : start + together]) for start in range(0, len(found), together)]
