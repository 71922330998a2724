"""A plan that declares a search starts a sweep for each new version of its dataset, in place of a run."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import ADA
from services.trainer.tests.sweeps.fakes import RATES, Sweeping
from services.trainer.tests.training.fakes import dataset_version, plan_settings
from tidemill_core.errors import InvalidInput
from tidemill_core.quotas import Quota, QuotaReached
from tidemill_core.resources import SLUG
from tidemill_trainer.sweeps.domain.sweep import SweepState
from tidemill_trainer.sweeps.planned_sweeps import sweep_id
from tidemill_trainer.training.domain.plan import TrainingPlan
from tidemill_trainer.training.domain.run import RunState
from tidemill_trainer.training.domain.search import Dimension, Pruning, Range, Search

SEARCH = Search(space=(RATES,), max_trials=2, held_out=0.25, measurements=2, pruning=Pruning(keep_percent=100.0))


@pytest.fixture
async def sweeping(tmp_path: Path) -> Sweeping:
    sweeping = await Sweeping(folder=tmp_path).ready()
    await sweeping.training.change(sweep=SEARCH, labels={"team": "help"})
    return sweeping


async def test_a_new_dataset_version_starts_the_sweep_of_its_plan_and_no_run(sweeping: Sweeping) -> None:
    await sweeping.training.consume(ADA, dataset_version(3))

    (sweep,) = sweeping.sweeps.all()
    assert (sweep.plan, sweep.dataset.id, sweep.start.base, sweep.state) == (
        "lora",
        "sft@3",
        "smollm2@1",
        SweepState.RUNNING,
    )
    assert (sweep.space, sweep.max_trials, sweep.held_out, sweep.labels) == ((RATES,), 2, 0.25, {"team": "help"})
    assert sweep.authors == (await sweeping.training.plans.get("acme", "lora")).authors
    assert sweep.start.sweep is None
    assert not sweeping.training.runs.all()


async def test_its_winner_registers_the_version(sweeping: Sweeping) -> None:
    await sweeping.training.consume(ADA, dataset_version())
    (sweep,) = sweeping.sweeps.all()

    ended = await sweeping.conclude(sweep.id)

    assert (ended.state, ended.model_version, sweeping.registered) == (SweepState.SUCCEEDED, "lora@1", ["lora@1"])


async def test_a_version_that_is_delivered_again_starts_no_second_sweep(sweeping: Sweeping) -> None:
    for _ in range(2):
        await sweeping.training.consume(ADA, dataset_version(3))
    await sweeping.training.consume(ADA, dataset_version(4))

    assert [sweep.dataset.id for sweep in sweeping.sweeps.all()] == ["sft@3", "sft@4"]


async def test_a_paused_plan_starts_its_sweep_when_it_is_resumed(sweeping: Sweeping) -> None:
    await sweeping.training.change(paused=True)
    await sweeping.training.consume(ADA, dataset_version(3))
    assert not sweeping.sweeps.all()

    await sweeping.training.change(paused=False)

    assert [sweep.dataset.id for sweep in sweeping.sweeps.all()] == ["sft@3"]
    assert (await sweeping.training.plans.get("acme", "lora")).deferred is None


async def test_without_the_search_the_next_version_starts_a_run(sweeping: Sweeping) -> None:
    await sweeping.training.change(sweep=None)
    await sweeping.training.consume(ADA, dataset_version(3))

    assert not sweeping.sweeps.all()
    assert [run.dataset.id for run in sweeping.training.runs.all()] == ["sft@3"]


async def test_a_sweep_that_cannot_start_is_a_failed_run_with_the_reason(sweeping: Sweeping) -> None:
    base = (await sweeping.training.registry.versions.get("acme", "smollm2@1")).id
    sweeping.training.registry.versions.remove("acme", base)

    await sweeping.training.consume(ADA, dataset_version(3))

    (run,) = sweeping.training.runs.all()
    assert (run.state, run.reason, run.dataset.id) == (RunState.FAILED, "MODEL_VERSION_NOT_FOUND", "sft@3")
    assert not sweeping.sweeps.all()


async def test_a_sweep_beyond_the_quota_is_a_failed_run_with_the_reason(
    sweeping: Sweeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> None:
        raise QuotaReached(Quota(of="sweeps", limit=1, setting="TRAINER_MAX_SWEEPS"), project="acme")

    monkeypatch.setattr(sweeping.sweeps, "add", full)

    await sweeping.training.consume(ADA, dataset_version(3))

    assert [run.reason for run in sweeping.training.runs.all()] == ["QUOTA_REACHED"]


@pytest.mark.parametrize(
    ("search", "field"),
    [
        (replace(SEARCH, space=()), "plan.sweep.space"),
        (replace(SEARCH, space=(Dimension(setting="args.seed", choices=(1, 2)),)), "plan.sweep.space[0].setting"),
        (
            replace(SEARCH, space=(Dimension(setting="lora.r", range=Range(low=1, high=1000)),)),
            "plan.sweep.space[0].range",
        ),
        (replace(SEARCH, max_trials=101), "plan.sweep.max_trials"),
        (replace(SEARCH, held_out=0.9), "plan.sweep.held_out"),
    ],
)
async def test_a_search_that_no_sweep_could_do_is_refused_with_the_plan(
    sweeping: Sweeping, search: Search, field: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        await sweeping.training.change(sweep=search)
    with pytest.raises(InvalidInput):
        await sweeping.training.plan("other", sweep=search)

    assert [violation.field for violation in refusal.value.violations] == [field]


def test_the_id_of_a_sweep_is_a_slug_also_of_a_long_plan_and_one_for_each_version() -> None:
    plans = [TrainingPlan(id=name, project="acme", settings=plan_settings()) for name in ("lora", "a" * 39 + "_" * 23)]

    ids = {
        sweep_id(plan, dataset_version(number, dataset=dataset))
        for plan in plans
        for number in (1, 10**9)
        for dataset in ("sft", "faq")
    }

    assert len(ids) == 8
    assert all(SLUG.fullmatch(each) for each in ids)
