"""Metrics of rankings are those of trec_eval."""

import random

import pytest

from tidemill_core.rankings import ranking_scores

DEPTH = 10
TREC_EVAL = (
    (0.356221, 0.333333, 1.0, 1.0),
    (0.285184, 0.5, 0.333333, 1.0),
    (0.060954, 0.111111, 0.333333, 1.0),
    (0.077989, 0.090909, 0.125, 1.0),
    (0.342815, 0.181818, 1.0, 1.0),
    (0.270506, 0.3, 0.5, 1.0),
    (0.051315, 0.166667, 0.111111, 1.0),
    (0.34414, 0.142857, 1.0, 1.0),
    (0.17686, 0.222222, 0.25, 1.0),
    (0.064503, 0.111111, 0.111111, 1.0),
    (0.0, 0.0, 0.0, 0.0),
    (0.101911, 0.090909, 1.0, 1.0),
)
"""ndcg_cut_10, recall_10, recip_rank and success_10 of pytrec-eval-terrier 0.5.11, on the rankings of the test."""


def test_a_ranking_is_scored_by_where_its_relevant_documents_are() -> None:
    scores = ranking_scores(["a", "x", "b"], {"a": 1, "b": 2, "c": 0}, depth=DEPTH)

    assert scores == pytest.approx({"ndcg": 2 / (2 + 1 / 1.5849625007), "recall": 1.0, "mrr": 1.0, "hit": 1.0})


def test_what_comes_after_the_depth_does_not_count() -> None:
    scores = ranking_scores(["x", "a"], {"a": 1}, depth=1)

    assert scores == {"ndcg": 0.0, "recall": 0.0, "mrr": 0.0, "hit": 0.0}


def test_without_a_relevant_document_nothing_is_found() -> None:
    assert set(ranking_scores(["a"], {"a": 0}, depth=DEPTH).values()) == {0.0}


def test_the_metrics_are_the_numbers_of_trec_eval() -> None:
    chance = random.Random(7)  # noqa: S311 - a test
    documents = [f"d{number}" for number in range(40)]
    judged = [
        {each: chance.choice([0, 0, 0, 1, 2, 3]) for each in chance.sample(documents, 15)} | {"d0": 1}
        for _ in TREC_EVAL
    ]
    rankings = [chance.sample(documents, chance.randint(1, 30)) for _ in TREC_EVAL]

    mine = [
        tuple(ranking_scores(ranking, grades, depth=DEPTH).values())
        for ranking, grades in zip(rankings, judged, strict=True)
    ]

    assert mine == [pytest.approx(expected, abs=1e-6) for expected in TREC_EVAL]
