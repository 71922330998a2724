from collections.abc import Awaitable
from dataclasses import replace

import pytest

from libs.kit.tests.notes import Note, NoteCodec, NoteNotFound
from tidemill_core import resources
from tidemill_core.application import Request
from tidemill_core.errors import AlreadyExists, Conflict, InvalidInput
from tidemill_core.resources import Write
from tidemill_testkit.stores import InMemoryAggregates

NOW = Write(request=Request.internal())
PREVIEW = replace(NOW, validate_only=True)


@pytest.fixture
def notes() -> InMemoryAggregates[Note]:
    return InMemoryAggregates(Note(id="old", project="acme"), codec=NoteCodec(), missing=NoteNotFound)


def fresh(name: str = "new") -> Note:
    return Note(id=name, project="acme", colour="red")


def paint(note: Note) -> None:
    note.colour = "blue"


@pytest.mark.parametrize("slug", ["a", "a-b_c", "9" * 63])
def test_a_slug_is_accepted(slug: str) -> None:
    resources.check_slug("note.id", slug)


@pytest.mark.parametrize("slug", ["", "A", "-a", "a_", "a b", "a\n", "9" * 64])
def test_what_is_no_slug_is_refused_by_field_and_value(slug: str) -> None:
    with pytest.raises(InvalidInput, match="use 1 to 63 of a-z") as refused:
        resources.check_slug("note.id", slug)

    assert [violation.field for violation in refused.value.violations] == ["note.id"]


def test_labels_are_refused_by_number_and_by_length() -> None:
    labels = {"": "x", "k" * 257: "x", "v": "x" * 257, "fine": "x" * 256}

    found = resources.label_violations("note.labels", labels, max_labels=3)

    assert [each.field for each in found] == [
        "note.labels",
        "note.labels[]",
        f"note.labels[{'k' * 40}]",
        "note.labels[v]",
    ]


async def test_a_created_resource_is_saved_and_a_previewed_one_is_not(notes: InMemoryAggregates[Note]) -> None:
    assert (await resources.create(notes, fresh("seen"), PREVIEW)).colour == "red"
    created = await resources.create(notes, fresh(), NOW)

    assert (await notes.get("acme", "new")) == created
    assert await notes.get_many("acme", ["seen"]) == {}


@pytest.mark.parametrize("write", [NOW, PREVIEW])
async def test_an_id_that_is_taken_is_refused_also_in_a_preview(notes: InMemoryAggregates[Note], write: Write) -> None:
    with pytest.raises(AlreadyExists, match="old exists already"):
        await resources.create(notes, fresh("old"), write)


async def test_a_repeated_request_is_answered_by_what_it_created(notes: InMemoryAggregates[Note]) -> None:
    request = Request(id="r-1", digest="d")
    assert await resources.repeated(notes, "acme", "new", request) is None

    created = await resources.create(notes, fresh(), Write(request=request))

    assert await resources.repeated(notes, "acme", "new", request) == created
    with pytest.raises(InvalidInput):
        await resources.repeated(notes, "acme", "new", Request(id="r-1", digest="another"))


@pytest.mark.parametrize("write", [NOW, PREVIEW])
async def test_what_begins_a_resource_sees_the_one_that_exists(notes: InMemoryAggregates[Note], write: Write) -> None:
    def begin(note: Note) -> None:
        seen.append(note.version)
        paint(note)

    seen: list[int] = []
    assert (await resources.create(notes, fresh(), write, begin=begin)).colour == "blue"
    await resources.create(notes, fresh("old"), write, begin=begin)

    assert set(seen) == {0, 1}


async def test_a_restored_resource_keeps_the_fields_that_are_not_given(notes: InMemoryAggregates[Note]) -> None:
    def create(note: Note) -> Awaitable[Note]:
        return resources.create(notes, note, NOW, begin=resources.restored(note, {"labels"}))

    created = await create(fresh())
    with pytest.raises(AlreadyExists, match="new exists already"):
        await create(fresh())
    await resources.delete(notes, "acme", "new", NOW)
    restored = await create(Note(id="new", project="acme", colour="blue", labels={"given": "again"}))

    assert (restored.colour, restored.labels, restored.deleted) == (created.colour, {"given": "again"}, False)


async def test_an_update_on_another_revision_is_refused_and_a_preview_changes_nothing(
    notes: InMemoryAggregates[Note],
) -> None:
    for write in (NOW, PREVIEW):
        with pytest.raises(Conflict, match="changed since etag 7"):
            await resources.update(notes, "acme", "old", paint, replace(write, etag="7"))

    assert (await resources.update(notes, "acme", "old", paint, replace(PREVIEW, etag="1"))).colour == "blue"
    assert (await notes.get("acme", "old")).colour == "white"
    await resources.update(notes, "acme", "old", paint, replace(NOW, etag="1"))
    assert (await notes.get("acme", "old")).colour == "blue"


async def test_a_deleted_resource_is_not_found_and_one_in_a_preview_is(notes: InMemoryAggregates[Note]) -> None:
    assert (await resources.delete(notes, "acme", "old", PREVIEW)).deleted
    assert not (await notes.get("acme", "old")).deleted

    assert (await resources.delete(notes, "acme", "old", NOW, change=paint)).colour == "blue"
    with pytest.raises(NoteNotFound):
        await notes.get("acme", "old")


def test_only_the_fields_of_the_mask_are_copied_and_share_nothing_with_the_request() -> None:
    given, onto = Note(id="n", project="acme", lines=["a"], colour="red"), Note(id="n", project="acme")

    resources.copy_fields(given, onto, {"lines"})
    given.lines.append("b")

    assert (onto.lines, onto.colour) == (["a"], "white")


async def test_all_are_listed_whatever_the_number_of_pages(
    notes: InMemoryAggregates[Note], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "MAX_PAGE_SIZE", 2)
    for number in range(4):
        await resources.create(notes, fresh(f"p{number}"), NOW)

    assert [each.id async for each in resources.list_all(notes, "acme")] == ["old", "p0", "p1", "p2", "p3"]
    assert [each.id async for each in resources.list_all(notes, "globex")] == []
