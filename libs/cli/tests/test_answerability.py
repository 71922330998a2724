"""From which score on the best passage answers, by judged and unanswerable questions."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from tidemill.content.v1.content_pb2 import Passage
from tidemill.rag.v1.retrieval_service_pb2 import SearchRequest, SearchResponse
from tidemill_cli.answerability import ATTEMPTS, Calibration, Observation, Share, calibrate, calibrated, observed
from tidemill_client.judged_questions import JudgedQuestion
from tidemill_core.errors import DependencyUnavailable

if TYPE_CHECKING:
    from tidemill_client.connection import Connection


def observations(*, answerable: list[float], unanswerable: list[float]) -> list[Observation]:
    kinds = ((True, answerable), (False, unanswerable))
    return [
        Observation(id=f"{kind}{place}", best=best, answerable=kind)
        for kind, scores in kinds
        for place, best in enumerate(scores)
    ]


def test_the_threshold_refuses_at_most_the_share_of_answerable_questions_that_is_allowed() -> None:
    scores = [0.4 + 0.01 * place for place in range(40)]

    found = calibrated(observations(answerable=scores, unanswerable=[0.1] * 10), false_refusals=0.05)

    assert sum(score < found.above for score in scores) == 2
    assert found.false_refusals.of == 40
    assert found.false_refusals.value <= 0.1
    assert (found.refused.value, found.separates) == (1.0, True)


def test_each_question_is_judged_by_a_threshold_that_did_not_see_it() -> None:
    scores = [0.1] + [0.5] * 19

    found = calibrated(observations(answerable=scores, unanswerable=[0.3] * 10), false_refusals=0.0)

    assert found.above == pytest.approx(0.1)
    assert found.false_refusals.count == 1
    assert 0 < found.refused.count < 10


def test_scores_that_are_alike_separate_nothing() -> None:
    found = calibrated(observations(answerable=[0.5] * 30, unanswerable=[0.5] * 30), false_refusals=0.05)

    assert found.refused.count == 0
    assert not found.separates


def test_nothing_is_refused_without_answerable_questions() -> None:
    assert calibrated(observations(answerable=[], unanswerable=[0.1] * 10), false_refusals=0.05).above == 0.0


def test_a_share_has_the_interval_of_wilson() -> None:
    low, high = Share(count=9, of=10).interval

    assert (round(low, 3), round(high, 3)) == (0.596, 0.982)
    assert Share(count=0, of=0).interval == (0.0, 1.0)


class Searches:
    """A collection whose reranker reads one candidate, once it is loaded."""

    def __init__(self, *, loaded_after: int) -> None:
        self.left = loaded_after

    async def Search(self, _: SearchRequest) -> SearchResponse:  # noqa: N802 - the name of the RPC
        self.left -= 1
        read = Passage(document="d1", score=0.7)
        if self.left < 0:
            read.rerank_score = 0.1
        return SearchResponse(passages=[read, Passage(document="d2", score=0.9)])


class Identifiers:
    """A collection that finds each question with a score of its own, and some with nothing once names are required."""

    def __init__(self, scores: dict[str, float], *, unnamed: set[str]) -> None:
        self.scores, self.unnamed = scores, unnamed

    async def Search(self, asked: SearchRequest) -> SearchResponse:  # noqa: N802 - the name of the RPC
        if asked.settings.identifiers_required and asked.query in self.unnamed:
            return SearchResponse()
        return SearchResponse(passages=[Passage(document="d1", score=self.scores[asked.query])])


async def calibrated_with(unnamed: set[str], *, required: bool = False) -> Calibration:
    """Calibrate on 40 answerable questions and 30 others."""
    scores = {f"a{place}": 0.3 if place < 2 else 0.5 + place / 200 for place in range(40)}
    scores |= {f"u{place}": 0.4 if place < 6 else 0.65 for place in range(30)}
    connection = cast("Connection", SimpleNamespace(retrieval=Identifiers(scores, unnamed=unnamed)))
    questions = [
        JudgedQuestion(id=name, text=name, grades={"d1": 1} if name[0] == "a" else {}, unanswerable=name[0] == "u")
        for name in scores
    ]
    return await calibrate(connection, "handbook", {"identifiers_required": required}, questions, false_refusals=0.05)


async def test_identifiers_are_required_where_enough_questions_are_refused_anew() -> None:
    assert (await calibrated_with({f"u{place}" for place in range(6, 11)})).identifiers_required
    assert not (await calibrated_with({f"u{place}" for place in range(6, 10)})).identifiers_required


async def test_identifiers_are_not_required_where_an_answerable_question_would_find_nothing() -> None:
    unnamed = {f"u{place}" for place in range(6, 17)}

    assert not (await calibrated_with({*unnamed, "a0"})).identifiers_required


async def test_identifiers_that_are_required_already_stay_so() -> None:
    assert (await calibrated_with(set(), required=True)).identifiers_required


async def best_of(searches: Searches) -> list[float]:
    connection = cast("Connection", SimpleNamespace(retrieval=searches))
    settings = {"rerank": {"model": "cross@1", "candidates": 1}}
    question = JudgedQuestion(id="q1", text="what?", unanswerable=True)
    return [each.best for each in await observed(connection, "handbook", settings, [question], pause_s=0.0)]


async def test_of_a_search_with_a_reranker_only_the_scores_of_that_are_observed() -> None:
    assert await best_of(Searches(loaded_after=0)) == pytest.approx([0.1])
    assert await best_of(Searches(loaded_after=ATTEMPTS - 1)) == pytest.approx([0.1])


async def test_nothing_is_calibrated_on_cosines_while_the_reranker_is_away() -> None:
    with pytest.raises(DependencyUnavailable, match="without the scores of its reranker cross@1"):
        await best_of(Searches(loaded_after=ATTEMPTS))
