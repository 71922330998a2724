from datetime import timedelta
from pathlib import Path

import pytest

from services.trainer.tests.sweeps.fakes import RANKS, RATES, Sweeping
from services.trainer.tests.training.fakes import request
from tidemill_core.application import PageRequest
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database
from tidemill_testkit.clocks import NOON
from tidemill_trainer.errors import SweepNotFound
from tidemill_trainer.sweeps.domain.sweep import Sweep
from tidemill_trainer.sweeps.mongo import SWEEPS, open_sweeps
from tidemill_trainer.training.domain.search import Budget

pytestmark = pytest.mark.server


async def test_a_sweep_is_read_as_it_was_saved_and_pending_while_it_is_open(database: Database, tmp_path: Path) -> None:
    sweeps = MongoAggregates(
        database["sweeps"], codec=SWEEPS, topic="topic", source="/test", missing=SweepNotFound, lists=[("plan",)]
    )
    pending = open_sweeps(database["sweeps"])
    await sweeps.ensure_indexes()
    await pending.ensure_indexes()
    sweeping = await Sweeping(folder=tmp_path).ready()
    budget = Budget(time=timedelta(minutes=3), cost=2.0, price_per_hour=1.5)
    fresh = await sweeping.create(space=(RATES, RANKS), budget=budget)
    await sweeps.add(fresh, request=request())

    def change(sweep: Sweep) -> None:
        sweep.claim(2)
        sweep.start_trial((1e-3, 1.0), epoch=2)

    saved = await sweeps.update("acme", "rates", change, request=request())

    assert await sweeps.get("acme", "rates") == saved
    assert (saved.budget, saved.space, saved.trials[0].point) == (budget, (RATES, RANKS), (1e-3, 1.0))
    assert (await sweeps.list("acme", page=PageRequest(), where={"plan": "lora"})).items == [saved]
    assert [key.key for key in (await pending("", without=frozenset())).items] == ["acme/rates"]

    def end(sweep: Sweep) -> None:
        sweep.cancel(now=NOON)
        sweep.close(epoch=2)

    await sweeps.update("acme", "rates", end, request=request())
    assert not (await pending("", without=frozenset())).items
