"""What is near what, by vectors of words."""

import pytest

from services.evaluator.tests.metrics.embedder import WordVectors
from tidemill_evaluator.metrics.domain.embedding import (
    EmbeddedTexts,
    EmbeddingScore,
    embedding_metric_in,
    sentences_of,
)
from tidemill_evaluator.metrics.domain.metric import GivenAnswer, Need
from tidemill_evaluator.metrics.embedding_scores import embedding_score
from tidemill_evaluator.suites.domain.cases import Case

CASE = Case(id="c1", question="where is it?", reference="it is here")
SIMILARITY, RELEVANCE = EmbeddingScore.EMBEDDING_SIMILARITY, EmbeddingScore.ANSWER_RELEVANCE
FAITHFULNESS = EmbeddingScore.FAITHFULNESS
PRECISION, RECALL = EmbeddingScore.CONTEXT_PRECISION, EmbeddingScore.CONTEXT_RECALL


def score_of(
    score: EmbeddingScore, text: str, *passages: str, reference: str = CASE.reference, question: str = CASE.question
) -> float | None:
    case = Case(id="c1", question=question, reference=reference)
    texts = EmbeddedTexts.of(case, GivenAnswer(text=text, passages=passages), max_sentences=64)
    words = WordVectors()
    return embedding_score(score, texts, {each: words.of(each) for each in texts.needed(score)})


def test_an_answer_is_as_near_to_the_reference_as_their_vectors_are() -> None:
    assert score_of(SIMILARITY, "It is here!") == pytest.approx(1.0)
    assert score_of(SIMILARITY, "it was there now") == pytest.approx(1 / (3**0.5 * 2))
    assert score_of(SIMILARITY, "no") == 0.0


def test_an_answer_is_relevant_that_is_near_to_the_question() -> None:
    assert score_of(RELEVANCE, "where it is") == pytest.approx(1.0)
    assert score_of(RELEVANCE, "no") == 0.0


def test_each_sentence_of_a_faithful_answer_is_near_to_a_sentence_of_some_passage() -> None:
    passages = "The door is red. It never opens.", "A cat sat."

    assert score_of(FAITHFULNESS, "A cat sat. It never opens.", *passages) == pytest.approx(1.0)
    assert score_of(FAITHFULNESS, "A cat sat. Dogs bark.", *passages) == pytest.approx(0.5)


def test_passages_that_hold_the_reference_are_recalled_also_where_they_hold_more() -> None:
    reference = "A cat sat. It never opens."

    assert score_of(RECALL, "x", "Dogs bark. A cat sat.", "It never opens.", reference=reference) == pytest.approx(1.0)
    assert score_of(RECALL, "x", "Dogs bark. A cat sat.", reference=reference) == pytest.approx(0.5)


def test_the_nearest_passage_counts_more_the_earlier_it_comes() -> None:
    found = [score_of(PRECISION, "x", *order) for order in (("it is here", "no", "no"), ("no", "no", "it is here"))]

    assert found == pytest.approx([(1 + 1 / 2 + 1 / 3) / 3, (0 + 0 + 1 / 3) / 3])


@pytest.mark.parametrize(
    ("score", "expected"), [(SIMILARITY, 0.0), (RELEVANCE, 0.0), (FAITHFULNESS, 0.0), (PRECISION, 1.0), (RECALL, 1.0)]
)
def test_a_blank_answer_is_near_nothing_and_says_nothing_of_its_passages(
    score: EmbeddingScore, expected: float
) -> None:
    assert score_of(score, " \n", "it is here") == pytest.approx(expected)


@pytest.mark.parametrize("score", [FAITHFULNESS, PRECISION, RECALL])
@pytest.mark.parametrize("passages", [(), (" ", "")])
def test_without_passages_what_compares_with_them_has_no_value(
    score: EmbeddingScore, passages: tuple[str, ...]
) -> None:
    assert score_of(score, "it is here", *passages) is None


def test_texts_that_point_away_from_one_another_are_not_nearer_than_strangers() -> None:
    texts = EmbeddedTexts.of(CASE, GivenAnswer(text="no"), max_sentences=64)

    assert embedding_score(SIMILARITY, texts, {"no": [-1.0, 0.0], "it is here": [1.0, 0.0]}) == 0.0


def test_a_text_without_a_vector_has_no_score() -> None:
    texts = EmbeddedTexts.of(CASE, GivenAnswer(text="no"), max_sentences=64)

    assert embedding_score(SIMILARITY, texts, {"no": None, "it is here": [1.0, 0.0]}) is None


@pytest.mark.parametrize(
    ("name", "model", "needs"),
    [
        ("embedding_similarity:minilm", "minilm", {Need.REFERENCE}),
        ("faithfulness:minilm@2", "minilm@2", set()),
        ("context_recall:collection:handbook", "collection:handbook", {Need.REFERENCE}),
        ("answer_relevance:a", "a", set()),
    ],
)
def test_a_metric_names_what_embeds(name: str, model: str, needs: set[Need]) -> None:
    found = embedding_metric_in(name)

    assert found
    assert (found.model, found.metric.name, set(found.metric.needs)) == (model, name, needs)


@pytest.mark.parametrize(
    "name",
    [
        "embedding_similarity",
        "embedding_similarity:",
        "embedding_similarity:Mini LM",
        "embedding_similarity:minilm@0",
        "embedding_similarity:collection:",
        "embedding_similarity:collection:handbook@2",
        "faithfulness:minilm\n",
        "judge:minilm",
        "nearness:minilm",
    ],
)
def test_other_names_are_no_such_metric(name: str) -> None:
    assert embedding_metric_in(name) is None


@pytest.mark.parametrize(
    ("text", "most", "sentences"),
    [
        ("One. Two!  Three?\nFour", 9, ["One.", "Two!", "Three?", "Four"]),
        ("Version 1.5 is here", 9, ["Version 1.5 is here"]),
        ("東京です。首都です！そう", 9, ["東京です。", "首都です！", "そう"]),  # noqa: RUF001 - full-width marks
        ("यह है। वह है।", 9, ["यह है।", "वह है।"]),
        ("a. b. c. d. e.", 2, ["a. b. c.", "d. e."]),
        (" \n ", 9, []),
    ],
)
def test_texts_are_cut_into_sentences_of_which_neighbours_join_where_there_are_many(
    text: str, most: int, sentences: list[str]
) -> None:
    assert sentences_of(text, most=most) == sentences


def test_all_passages_together_have_as_many_sentences_as_an_answer() -> None:
    passage = "a. " * 50
    texts = EmbeddedTexts.of(CASE, GivenAnswer(text=passage, passages=(passage,) * 30), max_sentences=20)

    assert (len(texts.of_answer), len(texts.passages), sum(map(len, texts.passages))) == (17, 20, 20)
