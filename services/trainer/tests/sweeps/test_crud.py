from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.trainer.tests.registry.fakes import ADA
from services.trainer.tests.sweeps.fakes import RATES, Sweeping, sweep_request
from services.trainer.tests.training.fakes import dataset_version, request
from tidemill_core.errors import AlreadyExists, InvalidInput
from tidemill_core.resources import Write
from tidemill_trainer.errors import (
    DatasetVersionNotFound,
    PlanPaused,
    SweepFinished,
    SweepNotFound,
    SweepUnfinished,
    TrainingPlanNotFound,
)
from tidemill_trainer.sweeps.domain.sweep import SweepState
from tidemill_trainer.sweeps.erasure import CancelSweeps
from tidemill_trainer.training.domain.rewards import Reward
from tidemill_trainer.training.domain.search import Budget, Dimension, Pruning


@pytest.fixture
async def sweeping(tmp_path: Path) -> Sweeping:
    return await Sweeping(folder=tmp_path).ready()


async def test_a_sweep_has_what_its_plan_and_dataset_are_when_it_is_created(sweeping: Sweeping) -> None:
    sweep = await sweeping.create(plan="lora")
    await sweeping.training.change(method="dpo", base="smollm2@1")
    sweeping.training.datasets.publish(dataset_version(2))

    stored = await sweeping.crud.get(ADA, "rates")

    assert (stored.start.method, stored.start.base, stored.dataset.id) == ("sft", "smollm2@1", "sft@1")
    assert stored == sweep
    assert stored.plan_of((1e-3,)).settings.recipe.args["learning_rate"] == 1e-3


async def test_a_plan_that_learns_from_generated_answers_is_not_searched_by_its_losses(sweeping: Sweeping) -> None:
    await sweeping.training.change(method="grpo", rewards=(Reward(citation=True),))

    with pytest.raises(InvalidInput, match=r"sweep.plan: is 'lora', a plan of grpo: its losses do not say how good"):
        await sweeping.create(plan="lora")


async def test_a_repeated_request_returns_the_same_sweep(sweeping: Sweeping) -> None:
    write = Write(request=request("r1"))

    first = await sweeping.crud.create(ADA, sweep_request(), write)

    assert await sweeping.crud.create(ADA, sweep_request(), write) == first
    with pytest.raises(AlreadyExists):
        await sweeping.create()


async def test_what_is_only_validated_is_not_stored(sweeping: Sweeping) -> None:
    await sweeping.crud.create(ADA, sweep_request(), Write(request=request(), validate_only=True))

    with pytest.raises(SweepNotFound):
        await sweeping.crud.get(ADA, "rates")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": "No Slug"}, "sweep.id"),
        ({"space": ()}, "sweep.space"),
        ({"max_trials": 101}, "sweep.max_trials: is 101; it must be 1 to 100"),
        ({"max_parallel": 17}, "sweep.max_parallel"),
        ({"held_out": 0.9}, "sweep.held_out: is 0.9; it must be 0.05 to 0.5"),
        ({"held_out": float("nan")}, "sweep.held_out"),
        ({"measurements": 51}, "sweep.measurements"),
        ({"seed": -1}, "sweep.seed"),
        ({"pruning": Pruning(keep_percent=101.0)}, "sweep.pruning.keep_percent"),
        ({"budget": Budget(cost=1.0)}, "sweep.budget.price_per_hour"),
        ({"budget": Budget(time=timedelta(0))}, "sweep.budget.time"),
        ({"dataset_version": "other@1"}, "plan lora trains on versions of sft"),
        ({"labels": {"": "v"}}, "sweep.labels"),
    ],
)
async def test_bad_input_is_refused_by_field_and_limit(sweeping: Sweeping, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await sweeping.create(**changes)

    assert says in str(refused.value) + "".join(
        f"{each.field}: {each.description}" for each in refused.value.violations
    )


async def test_plan_and_dataset_version_have_to_be_there(sweeping: Sweeping) -> None:
    with pytest.raises(TrainingPlanNotFound):
        await sweeping.create(plan="other")
    with pytest.raises(DatasetVersionNotFound):
        await sweeping.create(dataset_version="sft@9")
    await sweeping.training.change(paused=True)
    with pytest.raises(PlanPaused):
        await sweeping.create()


async def test_modules_that_the_base_has_not_are_refused(sweeping: Sweeping) -> None:
    modules = Dimension(setting="lora.target_modules", choices=("all-linear", ("embed_tokens",)))

    with pytest.raises(InvalidInput):
        await sweeping.create(space=(RATES, modules))


async def test_only_a_sweep_without_runs_in_work_is_deleted_and_its_id_may_be_used_again(sweeping: Sweeping) -> None:
    first = await sweeping.create(max_trials=1)
    await sweeping.reconcile()
    write = Write(request=request())
    with pytest.raises(SweepUnfinished):
        await sweeping.crud.delete(ADA, "rates", write)
    await sweeping.conclude()
    with pytest.raises(SweepFinished):
        await sweeping.crud.cancel(ADA, "rates", request=request())

    await sweeping.crud.delete(ADA, "rates", replace(write, request=request()))
    again = await sweeping.create(max_trials=1)
    sweep = await sweeping.conclude()

    assert (again.trials, sweep.state, sweep.model_version) == ((), SweepState.SUCCEEDED, "lora@2")
    assert first.origin != again.origin


async def test_the_sweeps_of_an_erased_project_are_cancelled(sweeping: Sweeping) -> None:
    await sweeping.create()
    await sweeping.reconcile()

    await CancelSweeps(sweeps=sweeping.sweeps, clock=sweeping.training.registry.clock)("acme")

    assert (await sweeping.reconcile()).state is SweepState.CANCELLED
