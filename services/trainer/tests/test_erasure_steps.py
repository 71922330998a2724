"""Runs and imports end before anything of their project is removed, on the real store."""

from datetime import timedelta

import pytest

from services.trainer.tests.training.fakes import dataset_version, plan_settings, request
from tidemill_kit.erasure.documents import documents_of_jobs
from tidemill_kit.erasure.steps import NotYet, Scope, Target
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database
from tidemill_kit.workers.leases import Leases
from tidemill_testkit.clocks import NOON, FixedClock
from tidemill_trainer.errors import ModelVersionNotFound, TrainingRunNotFound
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.registry.domain.sources import HuggingFaceSource
from tidemill_trainer.registry.erasure import DiscardImports
from tidemill_trainer.registry.mongo import VERSIONS
from tidemill_trainer.training.domain.plan import TrainingPlan
from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.erasure import CancelRuns
from tidemill_trainer.training.mongo import RUNS

pytestmark = pytest.mark.server

ACME = Target(project="acme", scope=Scope.PROJECT)


async def test_runs_are_cancelled_and_removed_once_no_worker_has_one(database: Database) -> None:
    clock = FixedClock()
    runs = MongoAggregates(
        database["training_runs"],
        codec=RUNS,
        topic="topic",
        source="/test",
        missing=TrainingRunNotFound,
        lists=[("state",)],
    )
    await runs.ensure_indexes()
    for project, name in (("acme", "queued"), ("acme", "running"), ("acme-2", "queued")):
        plan = TrainingPlan(id="lora", project=project, settings=plan_settings())
        run = TrainingRun.queue(run=name, plan=plan, dataset=dataset_version(), base="smollm2@1", now=NOON)
        if name == "running":
            run.claim(1, now=NOON)
        await runs.add(run, request=request())
    leases = Leases(database["run_leases"], owner="test", ttl=timedelta(seconds=30), clock=clock)
    lease = await leases.acquire("acme/running")
    assert lease is not None
    end = CancelRuns(runs=runs, clock=clock)
    step = documents_of_jobs("training runs", database["training_runs"], end=end, leases=leases)

    with pytest.raises(NotYet):
        await step.erase(ACME)
    assert [(await runs.get("acme", name)).state.value for name in ("queued", "running")] == ["cancelled"] * 2
    await leases.release(lease)

    assert [await step.erase(ACME), await step.erase(ACME)] == [2, 0]
    assert (await runs.get("acme-2", "queued")).is_in_work


async def test_imports_are_discarded_and_versions_removed_once_no_worker_has_one(database: Database) -> None:
    versions = MongoAggregates(
        database["model_versions"],
        codec=VERSIONS,
        topic="topic",
        source="/test",
        missing=ModelVersionNotFound,
        lists=[("state",)],
    )
    await versions.ensure_indexes()
    for project in ("acme", "acme-2"):
        source = HuggingFaceSource(repository="org/model", revision="main")
        version = ModelVersion.begin(
            project=project, model="hub", number=1, source=source, labels={}, by="r1", now=NOON
        )
        await versions.add(version, request=request())
    leases = Leases(database["import_leases"], owner="test", ttl=timedelta(seconds=30), clock=FixedClock())
    lease = await leases.acquire("acme/hub@1")
    assert lease is not None
    end = DiscardImports(versions=versions)
    step = documents_of_jobs("model versions", database["model_versions"], end=end, leases=leases)

    with pytest.raises(NotYet):
        await step.erase(ACME)
    with pytest.raises(ModelVersionNotFound):
        await versions.get("acme", "hub@1")
    await leases.release(lease)

    assert [await step.erase(ACME), await step.erase(ACME)] == [1, 0]
    assert (await versions.get("acme-2", "hub@1")).project == "acme-2"
