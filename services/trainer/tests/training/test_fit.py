import pytest

from tidemill_trainer.training.domain.fit import Choice, ExampleCounts, choices


def choice(batch: int, steps: int, *, twice: bool = False) -> Choice:
    return Choice(batch_size=batch, accumulation_steps=steps, checkpointing=twice)


def test_smaller_batches_come_before_layers_that_are_computed_twice() -> None:
    assert choices(choice(4, 2)) == [
        *(choice(4, 2), choice(2, 4), choice(1, 8)),
        *(choice(4, 2, twice=True), choice(2, 4, twice=True), choice(1, 8, twice=True)),
    ]


@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (6, 1), (7, 3), (1024, 1024)])
def test_every_choice_trains_on_as_many_rows_a_step(batch: int, steps: int) -> None:
    found = choices(choice(batch, steps))

    assert {each.batch_size * each.accumulation_steps for each in found} == {batch * steps}
    assert len(set(found)) == len(found)


def test_after_one_that_failed_only_smaller_ones_are_left() -> None:
    assert choices(choice(2, 1, twice=True), after=choice(2, 1, twice=True)) == [choice(1, 2, twice=True)]
    assert choices(choice(2, 1), after=choice(1, 2, twice=True)) == []


def test_no_batch_is_smaller_than_a_method_needs() -> None:
    assert choices(choice(4, 1, twice=True), minimum=2) == [choice(4, 1, twice=True), choice(2, 2, twice=True)]
    assert choices(choice(3, 1, twice=True), minimum=2) == [choice(3, 1, twice=True)]


def test_what_a_recipe_computes_twice_is_never_kept() -> None:
    assert all(each.checkpointing for each in choices(choice(4, 1, twice=True)))


def test_counts_say_why_examples_are_left_out() -> None:
    counts = ExampleCounts(offered=42, fitted=31, too_long=9, refused=1, empty=1)

    assert counts.described(max_length=160) == (
        "31 of 42 examples are used; 9 longer than max_length = 160 tokens, "
        "1 rejected by the chat template of the base, 1 without a textual question or answer"
    )
    assert (round(counts.left_out, 2), ExampleCounts(offered=0, fitted=0).left_out) == (0.26, 0.0)
