from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tidemill_kit.store import mongo
from tidemill_local import Addresses
from tidemill_rag.vectors.edge_hold import EdgeHold, StoreHeld
from tidemill_testkit.clocks import FixedClock
from tidemill_testkit.stack import unique_name

TTL = timedelta(seconds=30)


@pytest.fixture
async def holds(stack: Addresses) -> AsyncIterator[mongo.Collection]:
    client = mongo.connect(stack.mongo, timeout_s=10)
    database = client[unique_name("rag")]
    yield database["store_holds"]
    await client.drop_database(database.name)
    client.close()


async def test_a_second_folder_is_refused_while_the_first_one_runs_and_accepted_afterwards(
    holds: mongo.Collection, tmp_path: Path
) -> None:
    clock = FixedClock()
    first = EdgeHold(holds, tmp_path / "first", ttl=TTL, clock=clock)
    second = EdgeHold(holds, tmp_path / "second", ttl=TTL, clock=clock)
    await first.start()

    with pytest.raises(StoreHeld, match="RAG_VECTOR_STORE=server"):
        await second.start()
    await second.stop()
    again = EdgeHold(holds, tmp_path / "first", ttl=TTL, clock=clock)
    await again.start()  # the first one was killed
    await again.stop()
    await first.stop()
    await second.start()
    await second.stop()


async def test_a_folder_that_is_gone_for_good_is_replaced_when_its_hold_has_run_out(
    holds: mongo.Collection, tmp_path: Path
) -> None:
    clock = FixedClock()
    lost = EdgeHold(holds, tmp_path / "lost", ttl=TTL, clock=clock)
    await lost.start()
    clock.advance(TTL)

    fresh = EdgeHold(holds, tmp_path / "fresh", ttl=TTL, clock=clock)
    await fresh.start()

    with pytest.raises(StoreHeld):
        await lost.start()
    await fresh.stop()
    await lost.stop()
