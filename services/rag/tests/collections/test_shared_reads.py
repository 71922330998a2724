"""Reads of a project's collections that callers share."""

import asyncio
from typing import Any

import pytest

from services.rag.tests.fakes import ADA, Rag, spec, write
from tidemill_rag.collections.mongo import SharedReads


async def others_run() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_asks_meanwhile_shares_a_read_that_begins_after_that(monkeypatch: pytest.MonkeyPatch) -> None:
    rag, gate, reads = Rag(), asyncio.Event(), list[str]()
    await rag.handbook()
    listed, shared = rag.collections.list, SharedReads(rag.collections)

    async def slow(project: str, **of_list: Any) -> object:  # noqa: ANN401 - of `list`
        reads.append(project)
        found = await listed(project, **of_list)
        await gate.wait()
        return found

    monkeypatch.setattr(rag.collections, "list", slow)
    first = asyncio.create_task(shared("acme"))
    await others_run()
    await rag.crud.create(ADA, spec("other"), write("r9"))
    others = [asyncio.create_task(shared("acme")) for _ in range(5)]
    elsewhere = asyncio.create_task(shared("globex"))
    await others_run()
    assert reads == ["acme", "globex"]
    gate.set()

    assert [each.id for each in await first] == ["handbook"]
    assert [[each.id for each in found] for found in await asyncio.gather(*others)] == [["handbook", "other"]] * 5
    assert (await elsewhere, reads) == ([], ["acme", "globex", "acme"])
