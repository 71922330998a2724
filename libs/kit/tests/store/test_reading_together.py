"""Aggregates that are read at the same time."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from libs.kit.tests.notes import Note, NoteNotFound, notes_in
from tidemill_core.application import Request
from tidemill_kit.store.mongo import Database, Document
from tidemill_testkit.clocks import NOON


async def test_what_is_read_at_the_same_time_is_found_by_one_command(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = notes_in(database)
    for number in range(3):
        note = Note(id=f"n{number}", project="acme")
        note.write(f"line {number}", now=NOON)
        await notes.add(note, request=Request.internal())
    found, find = list[Document](), type(database["notes"]).find

    def counted(self: Any, query: Document, *rest: Any) -> Any:  # noqa: ANN401 - the collection's
        found.append(query)
        return find(self, query, *rest)

    monkeypatch.setattr(type(database["notes"]), "find", counted)
    asked = ["n2", "missing", "n0", "n2"]
    read = await asyncio.gather(*(notes.get("acme", each) for each in asked), return_exceptions=True)

    assert [each.lines if isinstance(each, Note) else type(each) for each in read] == [
        ["line 2"], NoteNotFound, ["line 0"], ["line 2"],
    ]  # fmt: skip
    assert read[0] is not read[3]
    assert len(found) == 1


async def test_what_is_read_of_a_project_waits_for_no_documents_of_another(database: Database) -> None:
    notes, gate = notes_in(database), asyncio.Event()
    for project in ("acme", "globex"):
        await notes.add(Note(id="n", project=project), request=Request.internal())
    reads, find = notes._find, notes._find_all  # noqa: SLF001 - a store that is slow for one project

    async def slow(project: str, keys: Sequence[str]) -> Sequence[Document | None]:
        if project == "acme":
            await gate.wait()
        return await find(project, keys)

    reads._call = slow  # noqa: SLF001 - ditto
    theirs = [asyncio.create_task(notes.get("acme", "n")) for _ in range(5)]
    await asyncio.sleep(0.01)

    assert (await asyncio.wait_for(notes.get("globex", "n"), 20)).project == "globex"
    gate.set()
    assert {note.project for note in await asyncio.gather(*theirs)} == {"acme"}
