"""Scores of vectors, each from 0 to 1: cosines, of which those below 0 count as 0.

Of many texts the nearest counts, as BERTScore has it of tokens (Zhang et al. 2020), here of sentences. What RAGAS (Es
et al. 2023) asks a model (is this statement in the passages, is this passage of use) is a nearness here: without a
threshold, which would be another one for every model.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill_evaluator.metrics.domain.embedding import EmbeddedTexts, EmbeddingScore, Vector
from tidemill_evaluator.metrics.domain.metric import Scored


def embedding_score(score: EmbeddingScore, texts: EmbeddedTexts, vectors: Mapping[str, Vector | None]) -> Scored:
    """Return the score of a side; None where a text has no vector, or there are no passages.

    An answer that is blank is near nothing.
    """
    if score in _OF_PASSAGES and not any(texts.passages):
        return None
    if not texts.answer and score in _OF_ANSWERS:
        return 0.0
    needed = texts.needed(score)
    if not needed or any(vectors.get(each) is None for each in needed):
        return None
    return _SCORES[score](texts, vectors)


def _similarity(texts: EmbeddedTexts, vectors: Mapping[str, Any]) -> float:
    return _nearest([texts.answer], [texts.reference], vectors)


def _relevance(texts: EmbeddedTexts, vectors: Mapping[str, Any]) -> float:
    return _nearest([texts.answer], [texts.question], vectors)


def _faithfulness(texts: EmbeddedTexts, vectors: Mapping[str, Any]) -> float:
    return _nearest(texts.of_answer, _all(texts.passages), vectors)


def _recall(texts: EmbeddedTexts, vectors: Mapping[str, Any]) -> float:
    return _nearest(texts.of_reference, _all(texts.passages), vectors)


def _precision(texts: EmbeddedTexts, vectors: Mapping[str, Any]) -> float:
    """Return the mean over ranks of the mean nearness up to each: the average precision of graded passages."""
    each = [_cosines(passage, texts.of_reference, vectors).max() for passage in texts.passages if passage]
    so_far = [sum(each[: rank + 1]) / (rank + 1) for rank in range(len(each))]
    return _share(sum(so_far) / len(so_far))


_SCORES = {
    EmbeddingScore.EMBEDDING_SIMILARITY: _similarity,
    EmbeddingScore.ANSWER_RELEVANCE: _relevance,
    EmbeddingScore.FAITHFULNESS: _faithfulness,
    EmbeddingScore.CONTEXT_PRECISION: _precision,
    EmbeddingScore.CONTEXT_RECALL: _recall,
}
_OF_PASSAGES = frozenset({EmbeddingScore.FAITHFULNESS, EmbeddingScore.CONTEXT_PRECISION, EmbeddingScore.CONTEXT_RECALL})
_OF_ANSWERS = frozenset(
    {EmbeddingScore.EMBEDDING_SIMILARITY, EmbeddingScore.ANSWER_RELEVANCE, EmbeddingScore.FAITHFULNESS}
)


def _nearest(texts: Sequence[str], others: Sequence[str], vectors: Mapping[str, Any]) -> float:
    """Return the mean over texts of the cosine with the nearest of the others."""
    return _share(_cosines(texts, others, vectors).max(axis=1).mean())


def _cosines(texts: Sequence[str], others: Sequence[str], vectors: Mapping[str, Any]) -> Any:  # noqa: ANN401 - numpy's
    import numpy as np  # noqa: PLC0415 - not before the first score

    one, other = (np.array([vectors[each] for each in some], dtype=np.float32) for some in (texts, others))
    return np.clip(one @ other.T, 0.0, None)


def _all(passages: Sequence[Sequence[str]]) -> Sequence[str]:
    return [sentence for passage in passages for sentence in passage]


def _share(value: float) -> float:
    return min(1.0, max(0.0, float(value)))
