from typing import Any

import pytest

from services.trainer.tests.sweeps.fakes import RANKS, RATES
from services.trainer.tests.training.fakes import plan_settings
from tidemill_core.errors import InvalidInput
from tidemill_trainer.sweeps.domain.space import Space
from tidemill_trainer.training.domain.search import Dimension, Range
from tidemill_trainer.training.domain.trial import HeldOut

STEPS = Dimension(setting="args.max_steps", range=Range(low=10, high=40))


def space(*dimensions: Dimension, **plan: Any) -> Space:  # noqa: ANN401 - fields of a plan
    return Space(start=plan_settings(**plan), dimensions=dimensions)


def test_a_point_gives_the_settings_of_a_plan() -> None:
    found = space(RATES, RANKS, STEPS)

    assert found.settings((1e-3, 2.0, 20.0)) == {"args.learning_rate": 1e-3, "lora.r": 16.0, "args.max_steps": 20}
    recipe = found.at((1e-3, 2.0, 20.0)).recipe
    assert (recipe.args["learning_rate"], recipe.lora["r"], recipe.args["max_steps"]) == (1e-3, 16, 20)
    assert recipe.args["seed"] == 7


def test_the_plan_itself_is_a_point_where_the_space_has_its_settings() -> None:
    assert space(RATES, RANKS).start_point() == (2e-4, 1.0)
    assert space(STEPS, args={"max_steps": 50}).start_point() is None
    assert space(Dimension(setting="lora.r", choices=(4, 16))).start_point() is None


def test_a_list_may_be_a_choice() -> None:
    modules = Dimension(setting="lora.target_modules", choices=("all-linear", ("q_proj", "v_proj")))
    found = space(modules, lora={"target_modules": ["q_proj", "v_proj"]})

    found.check()
    assert found.start_point() == (1.0,)


@pytest.mark.parametrize(
    ("dimension", "says"),
    [
        (Dimension(setting="args.learning_rat", choices=(1, 2)), "is no setting of sft"),
        (Dimension(setting="learning_rate", choices=(1, 2)), "is no setting of sft"),
        (Dimension(setting="args.max_length", choices=(64, 128)), "changes what the loss measures"),
        (Dimension(setting="args.seed", choices=(1, 2)), "is not searched"),
        (Dimension(setting="lora.r"), "either range or choices"),
        (Dimension(setting="lora.r", choices=(8, 16), range=Range(low=8, high=16)), "either range or choices"),
        (Dimension(setting="lora.r", choices=(8,)), "send 2 to 32"),
        (Dimension(setting="lora.r", choices=(8, 8.0)), "a value twice"),
        (Dimension(setting="lora.r", choices=(8, 512)), "lora.r is 512; allowed: a whole number from 1 to 256"),
        (Dimension(setting="lora.r", range=Range(low=8, high=512)), "lora.r is 512"),
        (Dimension(setting="lora.r", range=Range(low=8.5, high=16)), "a whole number"),
        (Dimension(setting="args.max_steps", range=Range(low=-1, high=4)), "args.max_steps is -1; all of a range must"),
        (Dimension(setting="lora.r", range=Range(low=16, high=8)), "low must be below high"),
        (Dimension(setting="lora.r", range=Range(low=float("nan"), high=8)), "low must be below high"),
        (Dimension(setting="args.weight_decay", range=Range(low=0, high=1, log=True)), "with log it must be above 0"),
        (Dimension(setting="args.optim", range=Range(low=0, high=1)), "send choices"),
    ],
)
def test_what_cannot_be_searched_is_refused(dimension: Dimension, says: str) -> None:
    with pytest.raises(InvalidInput, match="space") as refused:
        space(dimension).check()

    assert says in refused.value.violations[0].description


BATCH, ACCUMULATION = "args.per_device_train_batch_size", "args.gradient_accumulation_steps"


@pytest.mark.parametrize(
    ("dimensions", "divides"),
    [
        ([Dimension(setting=BATCH, choices=(1, 2, 3, 4))], False),
        ([Dimension(setting=BATCH, choices=(4, 8))], True),
        ([Dimension(setting=BATCH, range=Range(low=4, high=16))], False),
        ([Dimension(setting=ACCUMULATION, range=Range(low=1, high=4))], True),
        ([Dimension(setting=ACCUMULATION, choices=(1, 4)), Dimension(setting=BATCH, choices=(1, 4))], False),
        ([Dimension(setting=ACCUMULATION, choices=(4, 8)), Dimension(setting=BATCH, range=Range(low=1, high=4))], True),
    ],
)
def test_steps_that_the_processes_of_a_plan_cannot_divide_are_refused(
    dimensions: list[Dimension], *, divides: bool
) -> None:
    searched = space(STEPS, *dimensions, processes=4, args={"per_device_train_batch_size": 4})
    space(STEPS, *dimensions, args={"per_device_train_batch_size": 4}).check()
    if divides:
        searched.check()
        return
    with pytest.raises(InvalidInput, match=r"space\[1\]") as refused:
        searched.check()
    assert "has trials of 4 processes, and it must divide" in refused.value.violations[0].description


def test_a_setting_that_the_method_refuses_beside_others_is_refused() -> None:
    with pytest.raises(InvalidInput, match="compares with the base without dropout"):
        space(Dimension(setting="lora.lora_dropout", range=Range(low=0.0, high=0.1)), method="dpo").check()


def test_no_setting_is_searched_twice_and_none_is_too_few() -> None:
    with pytest.raises(InvalidInput, match="is there twice"):
        space(RATES, RATES).check()
    with pytest.raises(InvalidInput, match="send 1 to 16"):
        space().check()


def test_a_trial_is_measured_evenly_and_at_its_end() -> None:
    held_out = HeldOut(share=0.2, seed=0, measurements=4)

    assert sorted(held_out.measured_at(10)) == [3, 5, 8, 10]
    assert sorted(held_out.measured_at(2)) == [1, 2]
