"""The latest word counts, and words before it are kept."""

from datetime import timedelta

import pytest

from tidemill_feedback.reactions.domain.feedback import Answer, Feedback, FeedbackState, Given
from tidemill_testkit.clocks import NOON

ANSWER = Answer(
    inference="i1", deployment="d", end_user="u", variant="live", rollout="", live=True, completed=True, output="A"
)


def given(minute: int) -> Given:
    return Given(number=None, text=f"text {minute}", observe_time=NOON + timedelta(minutes=minute))


@pytest.mark.parametrize(
    ("order", "current", "history", "events"),
    [
        ([1, 2, 3], 3, [1, 2], 3),
        ([3, 2, 1], 3, [1, 2], 1),
        ([2, 3, 1], 3, [1, 2], 2),
        ([1, 1], 1, [1], 2),
        ([1, 2, 3, 4], 4, [2, 3], 4),
    ],
)
def test_the_order_of_observation_decides_and_not_that_of_arrival(
    order: list[int], current: int, history: list[int], events: int
) -> None:
    feedback = Feedback(id="f", project="acme", inference="i1", metric="comment", end_user="u", rater="user")

    for minute in order:
        feedback.give(given(minute), ANSWER, labels={}, keep=2, now=NOON)

    assert feedback.state is FeedbackState.RECORDED
    assert feedback.current == given(current)
    assert feedback.history == tuple(given(minute) for minute in history)
    assert (feedback.times, len(feedback.pending)) == (len(order), events)


def test_no_history_is_kept_where_none_is_configured() -> None:
    feedback = Feedback(id="f", project="acme", inference="i1", metric="comment", end_user="u", rater="user")

    for minute in (1, 2):
        feedback.give(given(minute), ANSWER, labels={}, keep=0, now=NOON)

    assert feedback.history == ()
