"""What every collection can do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest
from pymongo.errors import BulkWriteError

from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.store.mongo import Database, Document, connect, insert_new, patiently, translated, update_fitting
from tidemill_local import Addresses


async def test_of_documents_that_are_inserted_together_those_that_were_there_stay_and_are_named(
    database: Database,
) -> None:
    things = database["things"]
    assert await insert_new(things, []) == set()
    assert await insert_new(things, [{"_id": "a", "n": 1}, {"_id": "b", "n": 1}]) == set()

    taken = await insert_new(things, [{"_id": "c", "n": 2}, {"_id": "a", "n": 2}, {"_id": "d", "n": 2}])

    assert taken == {"a"}
    assert {each["_id"]: each["n"] async for each in things.find()} == {"a": 1, "b": 1, "c": 2, "d": 2}


async def test_of_updates_that_are_made_together_those_that_do_not_fit_are_named(database: Database) -> None:
    things = database["things"]
    await insert_new(things, [{"_id": "a", "refs": ["x"]}, {"_id": "b", "refs": []}])
    updates: list[tuple[Document, Document]] = [
        ({"_id": name, "refs": {"$ne": "x"}}, {"$push": {"refs": "x"}}) for name in ("a", "b", "c")
    ]

    assert await update_fitting(things, updates) == {0}
    assert await update_fitting(things, updates) == {0, 1, 2}
    assert {each["_id"]: each["refs"] async for each in things.find()} == {"a": ["x"], "b": ["x"], "c": ["x"]}


@pytest.mark.parametrize(("code", "raised"), [(10334, BulkWriteError), (11600, DependencyUnavailable)])
def test_what_no_repetition_makes_better_is_no_outage_in_a_bulk_write_either(
    code: int, raised: type[Exception]
) -> None:
    refused = {"writeErrors": [{"index": 0, "code": 11000}, {"index": 1, "code": code}]}

    with pytest.raises(raised), translated():
        raise BulkWriteError(refused)


async def test_a_command_that_may_take_long_outlives_the_limit_of_the_others(stack: Addresses) -> None:
    async with late_answers(stack.mongo, delay_s=1.0) as address:
        client = connect(address, timeout_s=0.5)
        things = client["things"]["things"]
        with patiently(30):
            assert await things.find_one({"_id": "a"}) is None
        with pytest.raises(DependencyUnavailable), translated():
            await things.find_one({"_id": "a"})
        client.close()


@asynccontextmanager
async def late_answers(mongo: str, *, delay_s: float) -> AsyncIterator[str]:
    """Give the address of a MongoDB that answers everything that is found late."""
    there = urlsplit(mongo)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(there.hostname, there.port)
        late = False

        async def answers() -> None:
            while data := await server_reader.read(65536):
                if late:
                    await asyncio.sleep(delay_s)
                with suppress(OSError):
                    writer.write(data)
            writer.close()

        answering = asyncio.create_task(answers())
        with suppress(OSError):
            while data := await reader.read(65536):
                late = b"\x02find\x00" in data
                server_writer.write(data)
        server_writer.close()
        await answering

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    yield f"mongodb://127.0.0.1:{server.sockets[0].getsockname()[1]}/?directConnection=true"
    server.close()
