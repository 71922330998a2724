from itertools import pairwise

import pytest

from tidemill_trainer.training.domain.losses import MAX_LOSSES, LossPoint, stalled, thinned


def logged(steps: int, *, every: int = 1) -> list[LossPoint]:
    return [LossPoint(step, 1 / step) for step in range(every, steps + 1, every)]


def test_a_short_run_keeps_every_loss() -> None:
    assert thinned(logged(MAX_LOSSES)) == tuple(logged(MAX_LOSSES))
    assert thinned([]) == ()


@pytest.mark.heavy
@pytest.mark.parametrize("every", [1, 10])
def test_a_long_run_keeps_losses_of_its_whole_length(every: int) -> None:
    steps = 25_000 * every + 3

    kept = thinned(logged(steps, every=every))

    gaps = {second.step - first.step for first, second in pairwise(kept[:-1])}
    assert MAX_LOSSES / 4 < len(kept) <= MAX_LOSSES
    assert len(gaps) == 1, "evenly"
    assert kept[0].step == gaps.pop()
    assert kept[-1] == logged(steps, every=every)[-1]


def test_what_was_thinned_and_went_on_is_thinned_as_if_it_had_never_been() -> None:
    whole = logged(9000)

    assert thinned([*thinned(whole[:4095]), *whole[4095:]]) == thinned(whole)


def test_a_loss_that_does_not_fall_is_named_and_one_that_falls_or_is_short_is_not() -> None:
    level = [LossPoint(step, 2.0 + step % 3) for step in range(1, 31)]

    assert stalled(level).startswith("the loss did not fall: 3 in the first fifth of the steps, 3 in the last")
    assert stalled(logged(30)) == ""
    assert stalled(level[:14]) == ""
