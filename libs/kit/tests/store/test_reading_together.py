"""Aggregates that are read at the same time."""

import asyncio
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
