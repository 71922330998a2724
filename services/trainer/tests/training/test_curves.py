import math

from tidemill_trainer.training.domain.curves import MAX_CURVES, MAX_POINTS, Curve, extended, numbers_of


def test_numbers_of_a_log_entry_are_those_that_make_curves() -> None:
    logged = {"grad_norm": 1.5, "learning_rate": 1, "loss": 2.0, "epoch": 0.5, "eval_loss": 3.0, "train_runtime": 1.0}

    assert numbers_of(logged) == {"grad_norm": 1.5, "learning_rate": 1.0}


def test_what_is_no_finite_number_or_has_a_long_name_makes_no_curve() -> None:
    assert not numbers_of({"a": math.nan, "b": math.inf, "c": "1", "d": True, "e" * 65: 1.0, "f": None})


def test_curves_grow_by_the_numbers_of_a_step_in_the_order_of_their_names() -> None:
    curves = extended((), 1, {"b": 2.0, "a": 1.0})

    assert extended(curves, 2, {"b": 3.0}) == (
        Curve(name="a", steps=(1,), values=(1.0,)),
        Curve(name="b", steps=(1, 2), values=(2.0, 3.0)),
    )


def test_there_are_so_many_curves_and_no_more() -> None:
    first = extended((), 1, {f"n{number:02}": 1.0 for number in range(MAX_CURVES + 3)})
    second = extended(first, 2, {"another": 1.0, "n00": 2.0})

    assert [curve.name for curve in second] == [f"n{number:02}" for number in range(MAX_CURVES)]
    assert second[0].values == (1.0, 2.0)


def test_a_long_curve_keeps_points_of_its_whole_length_and_the_last() -> None:
    curve = Curve(name="grad_norm")
    for step in range(1, 1100):
        curve = curve.extended(step, float(step))

    gaps = {after - before for before, after in zip(curve.steps[:-2], curve.steps[1:-1], strict=True)}
    assert MAX_POINTS / 4 < len(curve.steps) <= MAX_POINTS
    assert len(gaps) == 1, "evenly"
    assert (curve.steps[-1], curve.values) == (1099, tuple(float(step) for step in curve.steps))
