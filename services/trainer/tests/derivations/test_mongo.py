from datetime import timedelta
from pathlib import Path

import pytest

from services.trainer.tests.derivations.fakes import MERGE, Deriving
from services.trainer.tests.training.fakes import request
from tidemill_core.application import PageRequest
from tidemill_kit.erasure.documents import documents_of_jobs
from tidemill_kit.erasure.steps import NotYet, Scope, Target
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database
from tidemill_kit.workers.leases import Leases
from tidemill_testkit.clocks import NOON, FixedClock
from tidemill_trainer.derivations.domain import Derivation
from tidemill_trainer.derivations.erasure import CancelDerivations
from tidemill_trainer.derivations.errors import DerivationNotFound
from tidemill_trainer.derivations.methods import DropLayers, PruneMagnitude, PruneWanda
from tidemill_trainer.derivations.mongo import DERIVATIONS, pending_derivations

pytestmark = pytest.mark.server


async def stored(database: Database) -> MongoAggregates[Derivation]:
    derivations = MongoAggregates(
        database["derivations"],
        codec=DERIVATIONS,
        topic="topic",
        source="/test",
        missing=DerivationNotFound,
        lists=[("model",), ("state",)],
    )
    await derivations.ensure_indexes()
    return derivations


async def test_a_derivation_is_read_as_it_was_saved_and_pending_until_it_ends(
    database: Database, tmp_path: Path
) -> None:
    derivations, pending = await stored(database), pending_derivations(database["derivations"])
    await pending.ensure_indexes()
    deriving = await Deriving(folder=tmp_path).ready()
    merge, int8 = await deriving.create("helpdesk", method=MERGE), await deriving.create("smollm2")
    others = (
        PruneMagnitude(sparsity=0.5),
        PruneWanda(sparsity=0.5, calibration="tickets@3"),
        DropLayers(layers=2, calibration="tickets@3"),
    )
    for method in others:
        pruned = await derivations.add(await deriving.create(model="thin", method=method), request=request())
        assert (await derivations.get("acme", pruned.id)).method == method
        await derivations.update("acme", pruned.id, lambda each: each.cancel(now=NOON), request=request())
    for fresh in (merge, int8):
        await derivations.add(fresh, request=request())

    saved = await derivations.update("acme", int8.id, lambda each: each.claim(2, now=NOON), request=request())

    assert await derivations.get("acme", int8.id) == saved
    assert ((await derivations.get("acme", merge.id)).method, saved.method) == (MERGE, int8.method)
    assert len((await derivations.list("acme", page=PageRequest(), where={"model": "small"})).items) == 2
    assert {key.id for key in (await pending("", without=frozenset())).items} == {merge.id, int8.id}

    for each in (merge, int8):
        await derivations.update("acme", each.id, lambda each: each.cancel(now=NOON), request=request())
    assert not (await pending("", without=frozenset())).items


async def test_derivations_are_cancelled_and_removed_once_no_worker_has_one(database: Database, tmp_path: Path) -> None:
    derivations, clock = await stored(database), FixedClock()
    fresh = await (await Deriving(folder=tmp_path).ready()).create("helpdesk")
    await derivations.add(fresh, request=request())
    leases = Leases(database["derivation_leases"], owner="test", ttl=timedelta(seconds=30), clock=clock)
    lease = await leases.acquire(f"acme/{fresh.id}")
    assert lease is not None
    end = CancelDerivations(derivations=derivations, clock=clock)
    step = documents_of_jobs("derivations", database["derivations"], end=end, leases=leases)
    acme = Target(project="acme", scope=Scope.PROJECT)

    with pytest.raises(NotYet):
        await step.erase(acme)
    assert (await derivations.get("acme", fresh.id)).message == "its project is erased"
    await leases.release(lease)

    assert [await step.erase(acme), await step.erase(acme)] == [1, 0]
