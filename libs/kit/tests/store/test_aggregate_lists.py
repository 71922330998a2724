"""Lists of every store of aggregates: pages, orders, filters and tokens, in memory and in MongoDB."""

from dataclasses import replace
from datetime import timedelta

import pytest

from libs.kit.tests.notes import Note, a_note, erase, ids_of, intent
from tidemill_core.application import Aggregates, PageRequest
from tidemill_core.errors import InvalidInput
from tidemill_testkit.clocks import FixedClock

NONSENSE = "nonsense"


async def test_a_list_is_paged_by_create_time_and_then_id(notes: Aggregates[Note], clock: FixedClock) -> None:
    for name in ("d", "b", "c"):
        await notes.add(a_note(name), request=intent(name))
    clock.advance(timedelta(milliseconds=1))
    for name in ("a", "e"):
        await notes.add(a_note(name), request=intent(name))

    seen, token = [], ""
    for _ in range(3):
        page = await notes.list("acme", page=PageRequest(size=2, token=token))
        seen.append(ids_of(list(page.items)))
        token = page.next_token

    assert seen == [["b", "c"], ["d", "a"], ["e"]]
    assert token == ""


async def test_a_list_is_paged_from_its_newest_to_its_oldest(notes: Aggregates[Note], clock: FixedClock) -> None:
    for name in ("d", "b", "c"):
        await notes.add(a_note(name), request=intent(name))
    clock.advance(timedelta(milliseconds=1))
    for name in ("a", "e"):
        await notes.add(a_note(name), request=intent(name))

    seen, token = [], ""
    for _ in range(3):
        page = await notes.list("acme", page=PageRequest(size=2, token=token, newest_first=True))
        seen.append([note.id for note in page.items])
        token = page.next_token

    assert seen == [["e", "a"], ["d", "c"], ["b"]]
    assert token == ""


async def test_a_list_is_filtered_by_the_page_and_by_the_use_case_which_wins(notes: Aggregates[Note]) -> None:
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "red")):
        await notes.add(a_note(name, colour=colour), request=intent(name))

    red = await notes.list("acme", page=PageRequest(where={"colour": "red"}, newest_first=True))
    blue = await notes.list("acme", page=PageRequest(where={"colour": "red"}), where={"colour": "blue"})

    assert [note.id for note in red.items] == ["c", "a"]
    assert ids_of(list(blue.items)) == ["b"]


@pytest.mark.parametrize(
    "other", [PageRequest(newest_first=True), PageRequest(where={"colour": "red"})], ids=["order", "filter"]
)
async def test_the_token_of_another_order_or_filter_is_refused(notes: Aggregates[Note], other: PageRequest) -> None:
    for name in ("a", "b"):
        await notes.add(a_note(name, colour="red"), request=intent(name))
    token = (await notes.list("acme", page=PageRequest(size=1))).next_token

    with pytest.raises(InvalidInput, match=r"page_token.*the same order and filter"):
        await notes.list("acme", page=replace(other, token=token))


async def test_a_page_starts_after_the_one_before_whatever_was_deleted_meanwhile(notes: Aggregates[Note]) -> None:
    for name in ("a", "b", "c", "d"):
        await notes.add(a_note(name), request=intent(name))
    first = await notes.list("acme", page=PageRequest(size=2))
    await notes.update("acme", "b", erase, request=intent("gone"))

    second = await notes.list("acme", page=PageRequest(size=2, token=first.next_token))

    assert ids_of(list(second.items)) == ["c", "d"]
    assert second.next_token == ""


async def test_a_list_is_filtered_and_shows_tombstones_only_when_asked(notes: Aggregates[Note]) -> None:
    await notes.add(a_note("a", colour="red"), request=intent("a"))
    await notes.add(a_note("b"), request=intent("b"))
    await notes.add(a_note("c", colour="red"), request=intent("c"))
    await notes.update("acme", "c", erase, request=intent("gone"))

    red = await notes.list("acme", page=PageRequest(), where={"colour": "red"})
    deleted_too = await notes.list("acme", page=PageRequest(), where={"colour": "red"}, show_deleted=True)

    assert ids_of(list(red.items)) == ["a"]
    assert ids_of(list(deleted_too.items)) == ["a", "c"]


@pytest.mark.parametrize("page", [PageRequest(size=0), PageRequest(size=1001), PageRequest(token=NONSENSE)])
async def test_an_unusable_page_is_refused(notes: Aggregates[Note], page: PageRequest) -> None:
    with pytest.raises(InvalidInput):
        await notes.list("acme", page=page)


async def test_the_token_of_another_list_is_refused(notes: Aggregates[Note]) -> None:
    for name in ("a", "b"):
        await notes.add(a_note(name), request=intent(name))
    token = (await notes.list("acme", page=PageRequest(size=1))).next_token

    with pytest.raises(InvalidInput, match="page_token"):
        await notes.list("acme", page=PageRequest(token=token), where={"colour": "red"})


async def test_a_page_of_large_ones_ends_early_and_the_next_goes_on(notes: Aggregates[Note]) -> None:
    for number in range(4):
        await notes.add(Note(id=f"n{number}", project="acme", lines=["x" * 1_200_000]), request=intent(f"r{number}"))

    first = await notes.list("acme", page=PageRequest(size=4))
    second = await notes.list("acme", page=PageRequest(size=4, token=first.next_token))

    assert [[note.id for note in page.items] for page in (first, second)] == [["n0", "n1"], ["n2", "n3"]]
    assert second.next_token == ""


async def test_a_note_larger_than_a_page_is_a_page(notes: Aggregates[Note]) -> None:
    for number in range(2):
        await notes.add(Note(id=f"n{number}", project="acme", lines=["x" * 4_000_000]), request=intent(f"r{number}"))

    first = await notes.list("acme", page=PageRequest(size=4))

    assert [note.id for note in first.items] == ["n0"]
    assert first.next_token
