"""What counts as an example."""

from datetime import timedelta

from tidemill_feedback.curations.domain.counting import choose
from tidemill_feedback.curations.domain.filters import Filters
from tidemill_feedback.curations.domain.ledger import CandidateExample, Row
from tidemill_testkit.clocks import NOON

ALL = Filters(deployment="d", per_user_at_most=0, min_output_chars=1, max_output_chars=100)


def row(
    number: int, *, user: str = "u", inference: str = "", chars: int = 10, rater: str = "user", **fields: object
) -> Row:
    at = NOON + timedelta(minutes=number)
    candidate = CandidateExample(
        feedback=f"f{number:02}",
        seq=1,
        inference=inference or f"i{number}",
        deployment="d",
        end_user=user,
        observe_time=at,
        rater=rater,
    )
    finished = {"candidate": candidate, "first_time": at, "resolved_seq": 1, "chars": chars}
    return Row(**(finished | fields))  # type: ignore[arg-type]  # names of fields


def test_a_cap_keeps_what_came_first_whatever_order_rows_are_read_in() -> None:
    rows = [row(number) for number in range(5)]
    capped = Filters(deployment="d", per_user_at_most=2, min_output_chars=1, max_output_chars=100)

    for order in (rows, rows[::-1]):
        chosen = choose(order, capped, completions=0, at_most=100)
        assert sorted(each.candidate.feedback for each in chosen.rows) == ["f00", "f01"]
        assert (chosen.counts.examples, chosen.counts.filtered) == (2, 3)


def test_an_example_is_new_until_a_completion_that_happened() -> None:
    rows = [row(1, completion=1), row(2, completion=2), row(3), row(4, inference="i1")]

    assert choose(rows, ALL, completions=0, at_most=100).counts.new == 3
    assert choose(rows, ALL, completions=1, at_most=100).counts.new == 2
    assert choose(rows, ALL, completions=2, at_most=100).counts.new == 1


def test_rows_that_are_checked_failed_or_belong_elsewhere_do_not_count() -> None:
    rows = [row(1, resolved_seq=0), row(2, failure="NOT_RECORDED"), row(3)]
    elsewhere = Filters(deployment="other", per_user_at_most=0, min_output_chars=1, max_output_chars=100)

    counts = choose(rows, ALL, completions=0, at_most=100).counts
    assert (counts.examples, counts.filtered, counts.pending) == (1, 1, 1)
    assert choose(rows, elsewhere, completions=0, at_most=100).counts.filtered == 0


def test_of_more_than_a_batch_may_have_the_latest_count_and_the_others_are_not_new() -> None:
    rows = [row(number) for number in range(5)]

    chosen = choose(rows[::-1], ALL, completions=0, at_most=3)

    assert sorted(each.candidate.feedback for each in chosen.rows) == ["f02", "f03", "f04"]
    assert (chosen.counts.examples, chosen.counts.new, chosen.counts.filtered, chosen.left_out) == (3, 3, 0, 2)


def test_a_reviewer_s_correction_counts_before_a_judge_s_and_a_user_s_whichever_came_last() -> None:
    rows = [
        row(1, inference="i", user="r", rater="reviewer"),
        row(2, inference="i", user="j", rater="judge"),
        row(3, inference="i", user="u"),
    ]

    for left in (rows, rows[1:], rows[2:]):
        [chosen] = choose(left[::-1], ALL, completions=0, at_most=10).rows
        assert chosen == left[0]


def test_answers_that_several_people_corrected_are_counted_as_contested() -> None:
    rows = [row(1, inference="a"), row(2, inference="a", user="v"), row(3, inference="b")]

    assert choose(rows, ALL, completions=0, at_most=10).counts.contested == 1


def test_a_reviewer_corrects_as_many_as_there_are() -> None:
    capped = Filters(deployment="d", per_user_at_most=1, min_output_chars=1, max_output_chars=100)
    rows = [row(number, rater="reviewer") for number in range(4)]

    assert choose(rows, capped, completions=0, at_most=10).counts.examples == 4
