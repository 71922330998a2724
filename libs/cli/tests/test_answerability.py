"""From which score on the best passage answers, by judged and unanswerable questions."""

import pytest

from tidemill_cli.answerability import Observation, Share, calibrated


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
