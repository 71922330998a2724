from dataclasses import replace
from datetime import timedelta

import pytest

from services.trainer.tests.training.fakes import dataset_version, plan_settings, request
from tidemill_core.application import PageRequest
from tidemill_core.resources import Write, delete
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database
from tidemill_testkit.clocks import NOON
from tidemill_trainer.errors import TrainingPlanNotFound, TrainingRunNotFound
from tidemill_trainer.training.domain.fit import Choice, ExampleCounts, Fit
from tidemill_trainer.training.domain.losses import LossPoint
from tidemill_trainer.training.domain.plan import RunLimits, TrainingPlan
from tidemill_trainer.training.domain.progress import Progress
from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.domain.trial import HeldOut, Trial
from tidemill_trainer.training.mongo import PLANS, RUN_LISTS, RUNS, deferring_plans, pending_runs


@pytest.fixture
def runs(database: Database) -> MongoAggregates[TrainingRun]:
    return MongoAggregates(
        database["runs"],
        codec=RUNS,
        topic="topic",
        source="/test",
        missing=TrainingRunNotFound,
        lists=RUN_LISTS,
    )


@pytest.fixture
def plans(database: Database) -> MongoAggregates[TrainingPlan]:
    return MongoAggregates(database["plans"], codec=PLANS, topic="topic", source="/test", missing=TrainingPlanNotFound)


def plan(name: str = "lora") -> TrainingPlan:
    settings = plan_settings(
        lora={"target_modules": ["q_proj"]},
        limits=RunLimits(time=timedelta(minutes=3), memory_bytes=2**31),
        paused=True,
        labels={"team": "support"},
    )
    return TrainingPlan(id=name, project="acme", labels={"team": "support"}, settings=settings)


def run(name: str = "r1") -> TrainingRun:
    return TrainingRun.queue(run=name, plan=plan(), dataset=dataset_version(), base="smollm2@1", now=NOON)


async def test_a_plan_is_read_as_it_was_saved(plans: MongoAggregates[TrainingPlan]) -> None:
    await plans.add(plan(), request=request())

    saved = await plans.update("acme", "lora", lambda plan: plan.defer(dataset_version(2)), request=request())

    assert await plans.get("acme", "lora") == saved
    assert saved.deferred == dataset_version(2)


async def test_a_run_is_read_as_it_was_saved(runs: MongoAggregates[TrainingRun]) -> None:
    await runs.add(run(), request=request())

    def change(run: TrainingRun) -> None:
        run.claim(3, now=NOON)
        run.begin(versions={"torch": "2.13.0"}, epoch=3)
        run.advance(Progress(step=1, steps=4, losses=(LossPoint(1, 1.5),), remaining_s=3.0, seconds=1.0), epoch=3)
        choice = Choice(batch_size=2, accumulation_steps=2, checkpointing=False)
        fit = Fit(choice=choice, needed_bytes=5, limit_bytes=9)
        run.fitted(fit, ExampleCounts(offered=3, fitted=2, too_long=1), warnings=["why"], epoch=3)
        run.shrink(limits=run.limits, epoch=3)
        run.fail(reason="DIVERGED", message="why", now=NOON, epoch=3)

    saved = await runs.update("acme", "r1", change, request=request())

    assert await runs.get("acme", "r1") == saved
    assert saved.recipe.lora["target_modules"] == ("q_proj",)
    assert (await runs.list("acme", page=PageRequest(), where={"plan": "lora"})).items == [saved]
    assert not (await runs.list("acme", page=PageRequest(), where={"plan": "other"})).items


async def test_runs_are_listed_without_trials_as_the_store_keeps_them(runs: MongoAggregates[TrainingRun]) -> None:
    await runs.ensure_indexes()
    trial = Trial(number=1, held_out=HeldOut(share=0.2, seed=0, measurements=2))
    for each in (run("plain"), replace(run("trial"), trial=trial, sweep="rates", pending=[]), run("last")):
        await runs.add(each, request=request())

    first = await runs.list("acme", page=PageRequest(size=1), where={"plan": "lora", "trial.number": None})
    rest = await runs.list(
        "acme", page=PageRequest(token=first.next_token), where={"plan": "lora", "trial.number": None}
    )

    assert [each.id for each in (*first.items, *rest.items)] == ["plain", "last"]
    assert [each.id for each in (await runs.list("acme", page=PageRequest(), where={"sweep": "rates"})).items] == [
        "trial"
    ]


async def test_only_runs_in_work_are_pending(database: Database, runs: MongoAggregates[TrainingRun]) -> None:
    pending = pending_runs(database["runs"])
    await pending.ensure_indexes()
    for name in ("r1", "r2", "r3"):
        await runs.add(run(name), request=request())
    await runs.update("acme", "r2", lambda run: run.claim(1, now=NOON), request=request())
    await runs.update("acme", "r3", lambda run: run.cancel(now=NOON), request=request())

    assert [name.key for name in (await pending("", without=frozenset())).items] == ["acme/r1", "acme/r2"]


async def test_only_plans_with_deferred_runs_that_are_not_paused_are_pending(
    database: Database, plans: MongoAggregates[TrainingPlan]
) -> None:
    pending = deferring_plans(database["plans"])
    await pending.ensure_indexes()

    def go_on(plan: TrainingPlan) -> None:
        plan.configure(replace(plan.settings, paused=False))

    for name in ("owes", "paused", "owes_nothing", "deleted"):
        await plans.add(plan(name), request=request())
    for name in ("owes", "paused", "deleted"):
        await plans.update("acme", name, lambda plan: plan.defer(dataset_version(2)), request=request())
    for name in ("owes", "owes_nothing", "deleted"):
        await plans.update("acme", name, go_on, request=request())
    await delete(plans, "acme", "deleted", Write(request=request()))

    assert [name.key for name in (await pending("", without=frozenset())).items] == ["acme/owes"]
