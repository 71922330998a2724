"""A plan that declares a search starts a sweep for each new version of its dataset, in place of a run."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import ADA
from services.trainer.tests.sweeps.fakes import KEY, RATES, Sweeping
from services.trainer.tests.training.fakes import dataset_version, plan_settings, request
from tidemill_core.aggregate import ObjectRef
from tidemill_core.errors import InvalidInput
from tidemill_core.quotas import Quota, QuotaReached
from tidemill_core.resources import SLUG
from tidemill_trainer.errors import SweepNotRetriable
from tidemill_trainer.sweeps.domain.sweep import Sweep, SweepState
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


async def deliver(sweeping: Sweeping, number: int) -> None:
    """Publish a version, and deliver its event."""
    version = dataset_version(number)
    if version.id not in sweeping.training.datasets.versions:
        sweeping.training.datasets.publish(version)
    await sweeping.training.consume(ADA, version)


async def remove_base(sweeping: Sweeping) -> None:
    base = (await sweeping.training.registry.versions.get("acme", "smollm2@1")).id
    sweeping.training.registry.versions.remove("acme", base)


async def test_a_new_dataset_version_starts_the_sweep_of_its_plan_and_no_run(sweeping: Sweeping) -> None:
    await deliver(sweeping, 3)

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
    await deliver(sweeping, 1)
    (sweep,) = sweeping.sweeps.all()

    ended = await sweeping.conclude(sweep.id)

    assert (ended.state, ended.model_version, sweeping.registered) == (SweepState.SUCCEEDED, "lora@1", ["lora@1"])


async def test_a_version_that_is_delivered_again_starts_no_second_sweep(sweeping: Sweeping) -> None:
    for _ in range(2):
        await deliver(sweeping, 3)
    await deliver(sweeping, 4)

    assert [sweep.dataset.id for sweep in sweeping.sweeps.all()] == ["sft@3", "sft@4"]


async def test_a_paused_plan_starts_its_sweep_when_it_is_resumed(sweeping: Sweeping) -> None:
    await sweeping.training.change(paused=True)
    await deliver(sweeping, 3)
    assert not sweeping.sweeps.all()

    await sweeping.training.change(paused=False)

    assert [sweep.dataset.id for sweep in sweeping.sweeps.all()] == ["sft@3"]
    assert (await sweeping.training.plans.get("acme", "lora")).deferred is None


async def test_without_the_search_the_next_version_starts_a_run(sweeping: Sweeping) -> None:
    await sweeping.training.change(sweep=None)
    await deliver(sweeping, 3)

    assert not sweeping.sweeps.all()
    assert [run.dataset.id for run in sweeping.training.runs.all()] == ["sft@3"]


async def test_a_sweep_that_cannot_start_is_a_failed_run_with_the_reason(sweeping: Sweeping) -> None:
    await remove_base(sweeping)

    await deliver(sweeping, 3)

    (run,) = sweeping.training.runs.all()
    assert (run.state, run.reason, run.dataset.id) == (RunState.FAILED, "SWEEP_NOT_STARTED", "sft@3")
    assert "MODEL_VERSION_NOT_FOUND" in run.message
    assert not sweeping.sweeps.all()


async def test_a_sweep_beyond_the_quota_is_a_failed_run_with_the_reason(
    sweeping: Sweeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> None:
        raise QuotaReached(Quota(of="sweeps", limit=1, setting="TRAINER_MAX_SWEEPS"), project="acme")

    monkeypatch.setattr(sweeping.sweeps, "add", full)

    await deliver(sweeping, 3)

    (run,) = sweeping.training.runs.all()
    assert (run.reason, "QUOTA_REACHED" in run.message) == ("SWEEP_NOT_STARTED", True)


async def test_a_run_that_stands_for_a_sweep_is_not_retried_without_its_search(sweeping: Sweeping) -> None:
    await remove_base(sweeping)
    await deliver(sweeping, 3)
    (run,) = sweeping.training.runs.all()

    with pytest.raises(SweepNotRetriable, match="tidemill sweeps create"):
        await sweeping.training.run_crud.retry(ADA, run.id, request=request())

    assert [each.state for each in sweeping.training.runs.all()] == [RunState.FAILED]


async def test_a_sweep_searches_the_split_as_it_is_when_it_starts(sweeping: Sweeping) -> None:
    await sweeping.training.change(paused=True)
    await deliver(sweeping, 3)
    left = ObjectRef(bucket="datasets", key="acme/sft/left", size=1, sha256="0" * 64)
    sweeping.training.datasets.publish(replace(dataset_version(3), train=left, examples=99))

    await sweeping.training.change(paused=False)

    (sweep,) = sweeping.sweeps.all()
    assert (sweep.dataset.id, sweep.dataset.train, sweep.dataset.examples) == ("sft@3", left, 99)


async def lose_examples(sweeping: Sweeping, sweep: Sweep) -> Sweep:
    """Have a trial of a sweep find fewer examples than it was created on."""
    await sweeping.reconcile(sweep.id)
    present = sweeping.training.datasets.versions[sweep.dataset.id]
    sweeping.training.datasets.publish(replace(present, examples=present.examples - 1))
    return await sweeping.conclude(sweep.id)


async def test_a_sweep_whose_version_lost_examples_starts_once_more_on_what_is_left(sweeping: Sweeping) -> None:
    await deliver(sweeping, 3)
    (first,) = sweeping.sweeps.all()

    failed = await lose_examples(sweeping, first)

    assert (failed.state, failed.reason) == (SweepState.FAILED, "DATASET_CHANGED")
    (second,) = (each for each in sweeping.sweeps.all() if each.id != first.id)
    assert (second.state, second.dataset.id, second.dataset.examples) == (SweepState.RUNNING, "sft@3", 99)
    assert replace(KEY, id=second.id) in sweeping.notified

    assert (await lose_examples(sweeping, second)).state is SweepState.FAILED
    assert len(sweeping.sweeps.all()) == 2


async def test_a_sweep_whose_version_lost_examples_ends_also_where_its_plan_is_gone(sweeping: Sweeping) -> None:
    await deliver(sweeping, 3)
    (sweep,) = sweeping.sweeps.all()
    sweeping.training.plans.remove("acme", "lora")

    failed = await lose_examples(sweeping, sweep)

    assert (failed.reason, failed.open) == ("DATASET_CHANGED", False)
    assert len(sweeping.sweeps.all()) == 1


async def test_a_version_that_is_delivered_again_lets_its_sweep_go_on_also_if_it_could_not_start_now(
    sweeping: Sweeping,
) -> None:
    await deliver(sweeping, 3)
    await remove_base(sweeping)
    sweeping.notified.clear()

    await deliver(sweeping, 3)

    (sweep,) = sweeping.sweeps.all()
    assert (sweep.state, sweeping.notified) == (SweepState.RUNNING, [replace(KEY, id=sweep.id)])
    assert not sweeping.training.runs.all()


@pytest.mark.parametrize(("before", "after"), [(SEARCH, None), (None, SEARCH)])
async def test_a_version_that_is_delivered_again_after_a_change_of_the_plan_starts_nothing_beside_what_it_started(
    sweeping: Sweeping, before: Search | None, after: Search | None
) -> None:
    await sweeping.training.change(sweep=before)
    await deliver(sweeping, 3)
    await sweeping.training.change(sweep=after)

    await deliver(sweeping, 3)

    assert len(sweeping.sweeps.all()) + len(sweeping.training.runs.all()) == 1


async def test_a_sweep_that_could_not_start_is_not_started_by_an_event_that_is_delivered_again(
    sweeping: Sweeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> None:
        raise QuotaReached(Quota(of="sweeps", limit=1, setting="TRAINER_MAX_SWEEPS"), project="acme")

    with monkeypatch.context() as patched:
        patched.setattr(sweeping.sweeps, "add", full)
        await deliver(sweeping, 3)

    await deliver(sweeping, 3)

    assert (len(sweeping.training.runs.all()), sweeping.sweeps.all()) == (1, [])


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
