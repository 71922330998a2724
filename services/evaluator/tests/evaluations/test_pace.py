import pytest

from tidemill_evaluator.evaluations.domain.pace import Pace


def answer(pace: Pace, *, share: float, rounds: int) -> None:
    """Run rounds of answers that take this share of their deadline."""
    for _ in range(rounds):
        for asked in [pace.asked(pace.max_concurrent) for _ in range(pace.max_concurrent)]:
            pace.answered(asked, share)


def test_quick_answers_allow_more_and_more_up_to_the_limit() -> None:
    pace = Pace(maximum=16, share=0.5)

    assert pace.max_concurrent == 4
    answer(pace, share=0.1, rounds=1)
    assert pace.max_concurrent == 8
    answer(pace, share=0.1, rounds=5)
    assert pace.max_concurrent == 16


def test_slow_answers_of_one_round_halve_it_once_and_it_rises_by_one_a_round_from_there() -> None:
    pace = Pace(maximum=16, share=0.5)
    answer(pace, share=0.1, rounds=2)

    answer(pace, share=0.6, rounds=1)
    assert pace.max_concurrent == 8
    answer(pace, share=0.1, rounds=2)
    assert pace.max_concurrent == pytest.approx(10, abs=1)


def test_after_a_deadline_that_passed_it_starts_over_from_one() -> None:
    pace = Pace(maximum=16, share=0.5)
    answer(pace, share=0.1, rounds=2)

    for asked in [pace.asked(16) for _ in range(16)]:
        pace.late(asked)

    assert pace.max_concurrent == 1
    answer(pace, share=0.1, rounds=3)
    assert pace.max_concurrent == 8
    answer(pace, share=0.1, rounds=2)
    assert pace.max_concurrent < 12


def test_it_stays_where_answers_are_neither_slow_nor_asked_in_full() -> None:
    pace = Pace(maximum=16, share=0.5)

    for _ in range(50):
        pace.answered(pace.asked(1), 0.1)

    assert pace.max_concurrent == 4


def test_it_never_falls_below_one() -> None:
    pace = Pace(maximum=2, share=0.5)

    for _ in range(5):
        pace.refused(pace.asked(1))
        pace.answered(pace.asked(1), 3.0)

    assert pace.max_concurrent == 1


def test_a_steady_one_never_allows_more_than_before() -> None:
    pace = Pace(maximum=16, share=0.5, steady=True)

    answer(pace, share=0.1, rounds=5)
    assert pace.max_concurrent == 4
    answer(pace, share=0.6, rounds=1)
    answer(pace, share=0.1, rounds=5)
    assert pace.max_concurrent == 2
