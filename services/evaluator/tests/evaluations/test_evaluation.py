from collections.abc import Callable

import pytest

from services.evaluator.tests.evaluations.test_events import comparison, evaluation, running
from tidemill_evaluator.errors import EvaluationLost
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_testkit.clocks import NOON

WRITES: list[Callable[[Evaluation, int], None]] = [
    lambda e, epoch: e.progress(1, remaining_s=None, epoch=epoch),
    lambda e, epoch: e.wait("", epoch=epoch),
    lambda e, epoch: e.complete([], now=NOON, epoch=epoch),
    lambda e, epoch: e.fail(reason="NO_CASES", message="", now=NOON, epoch=epoch),
    lambda e, epoch: e.begin(
        baseline="m@1", baseline_configuration="d", dataset_version="", case_sets=(), now=NOON, epoch=epoch
    ),
]


@pytest.mark.parametrize("write", WRITES)
def test_a_worker_of_an_earlier_epoch_writes_nothing(write: Callable[[Evaluation, int], None]) -> None:
    taken = running()
    taken.claim(2)

    with pytest.raises(EvaluationLost):
        write(taken, 1)

    write(taken, 2)


@pytest.mark.parametrize("write", WRITES)
def test_what_is_final_takes_no_writes(write: Callable[[Evaluation, int], None]) -> None:
    cancelled = running()
    cancelled.cancel(NOON)

    with pytest.raises(EvaluationLost):
        write(cancelled, 1)
    with pytest.raises(EvaluationLost):
        cancelled.claim(2)


def test_an_earlier_epoch_takes_nothing_over() -> None:
    taken = running()
    taken.claim(3)

    with pytest.raises(EvaluationLost):
        taken.claim(2)


def test_progress_never_goes_back_and_the_finish_has_no_rest() -> None:
    begun = running()
    begun.progress(7, remaining_s=30.0, epoch=1)
    begun.progress(5, remaining_s=20.0, epoch=1)
    assert (begun.answered, begun.remaining_s) == (7, 20.0)

    begun.complete([comparison("suite:truth@1", low=0.1, gain_above=0.0, at_least=0)], now=NOON, epoch=1)
    assert (begun.state, begun.remaining_s, begun.finish_time) == (State.COMPLETED, None, NOON)


def test_the_seed_of_an_evaluation_is_always_the_same_and_another_ones_is_another() -> None:
    other = evaluation()
    other.id = "another"

    assert evaluation().seed == running().seed != other.seed
