"""What a source's documents are where its files, its server or its rules are not as they should be."""

import unicodedata
from dataclasses import replace
from datetime import timedelta

import pytest

from services.ingest.tests.fakes import ACME
from services.ingest.tests.polling.origins import Polled
from services.ingest.tests.polling.test_poll_source import polled
from tidemill_core.application import Request
from tidemill_ingest.documents.crud import DeleteCommand
from tidemill_ingest.documents.domain.submission import DocumentName, Submission, SubmissionChannel
from tidemill_ingest.errors import FileUnreadable
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.polling.domain.objects import ListedObject, Listing
from tidemill_ingest.polling.domain.poll import PollState
from tidemill_ingest.sources.domain import Source

MANY = {f"f{number:02}.md": f"# x {number}\n\nto jane.doe@acme.example".encode() for number in range(20)}


async def mask(harness: Polled, *kinds: str) -> None:
    def change(source: Source) -> None:
        source.masking = Masking.of(list(kinds), none=False)

    await harness.ingest.sources.update("acme", "wiki", change, request=Request.internal())


async def erase(harness: Polled, key: str) -> None:
    submission = Submission(door=SubmissionChannel.GRPC, id="by-hand")
    name = DocumentName(source="wiki", key=key)
    command = DeleteCommand(name=name, submission=submission, request=Request.of("12345678", b""), erase=True)
    await harness.ingest.delete(ACME, command)


def unreadable(harness: Polled, *keys: str) -> None:
    refused = FileUnreadable("the server refuses this file")

    def on_read(key: str) -> None:
        if key in keys:
            raise refused

    harness.origin.on_read = on_read


async def test_a_file_whose_name_writes_its_accents_otherwise_keeps_its_document() -> None:
    harness, composed = await polled(), "caf\u00e9.md"
    harness.origin.files[unicodedata.normalize("NFD", composed)] = b"one"
    await harness.poll()
    harness.origin.files = dict(harness.origin.files)
    harness.origin.files[composed] = harness.origin.files.pop(unicodedata.normalize("NFD", composed))

    first = await harness.poll()
    second = await harness.poll()

    assert (first.last.deleted, second.last.deleted) == (0, 0)
    assert harness.states()[composed] == "active"
    assert set(harness.objects.rows["acme", "wiki"]) == set(harness.origin.files)


async def test_an_erased_document_does_not_come_back_by_other_rules_but_by_another_version_of_its_file() -> None:
    harness = await polled()
    await harness.poll()
    await erase(harness, "a.md")

    await mask(harness, "email")
    first = await harness.poll()
    second = await harness.poll()
    by_rules = harness.states()["a.md"]
    harness.origin.files["a.md"] = b"newer"
    await harness.poll()

    assert (by_rules, first.last.changed, second.last.changed) == ("deleted", 2, 0)
    assert harness.states()["a.md"] == "active"


async def test_stricter_masking_counts_from_the_next_batch_of_a_poll_under_way() -> None:
    harness = await polled()
    harness.origin.files = dict(MANY)
    await mask(harness, "phone")
    harness.ingest.clock.advance(timedelta(hours=1))
    put = harness.objects.put

    async def put_and_tighten(*arguments: object) -> None:
        await put(*arguments)  # type: ignore[arg-type] # handed on
        await mask(harness, "phone", "email")

    harness.objects.put = put_and_tighten  # type: ignore[method-assign,assignment] # of this test

    assert await harness.once() is not None
    assert len(harness.states()) == 4
    await harness.poll(after=timedelta(0))
    rules = {each.rules for each in harness.objects.rows["acme", "wiki"].values()}
    assert (len(harness.states()), len(rules)) == (20, 1)


async def test_a_listing_that_takes_longer_than_a_slice_leaves_time_for_files() -> None:
    harness = await polled()
    listing = harness.origin.listing

    async def slow(known: str = "") -> Listing | None:
        harness.ingest.clock.advance(timedelta(minutes=6))
        return await listing(known)

    harness.origin.listing = slow  # type: ignore[method-assign] # of this test
    harness.ingest.clock.advance(timedelta(hours=1))

    assert await harness.once() is None
    assert len(harness.states()) == 3


async def test_one_file_that_cannot_be_read_stops_neither_others_nor_deletions() -> None:
    harness = await polled()
    await harness.poll()
    harness.origin.files |= {"a.md": b"changed", **MANY}
    del harness.origin.files["d.txt"]
    unreadable(harness, "a.md")

    poll = await harness.poll()

    document = await harness.document("a.md")
    assert (poll.state, poll.last.refused, poll.last.deleted) == (PollState.CURRENT, 1, 1)
    assert (harness.states()["d.txt"], document.state.value) == ("deleted", "active")
    assert document.last_rejection is not None
    assert document.last_rejection.reason == "FILE_UNREADABLE"


async def test_a_file_that_could_not_be_read_is_tried_at_each_poll_and_refused_once() -> None:
    harness = await polled()
    unreadable(harness, "a.md")

    first = await harness.poll()
    published = len(harness.ingest.documents.published)
    second = await harness.poll()
    assert (first.last.refused, second.last.refused) == (1, 1)
    assert len(harness.ingest.documents.published) == published
    unreadable(harness)
    third = await harness.poll()

    assert (third.last.changed, third.last.refused) == (1, 0)
    assert harness.states()["a.md"] == "active"


async def test_a_file_that_is_never_there_in_the_version_that_is_listed_is_refused_at_the_third_poll(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = await polled()
    read = harness.origin.read

    async def changed(listed: ListedObject) -> bytes | None:
        return None if listed.key == "a.md" else await read(listed)

    monkeypatch.setattr(harness.origin, "read", changed)

    counts = [(await harness.poll()).last.refused for _ in range(4)]

    assert counts == [0, 0, 1, 1]
    assert harness.states() == {"b/c.md": "active", "d.txt": "active"}


async def test_a_refused_file_is_tried_again_where_more_can_be_converted_and_no_other_is() -> None:
    harness = await polled()
    harness.origin.files["empty.md"] = b""
    harness.origin.position = "one commit"
    await harness.poll()
    harness.origin.read_keys.clear()

    harness.poll_source = replace(harness.poll_source, conversion="c2")
    await harness.poll()
    await harness.poll()

    assert harness.origin.read_keys == []
    assert len(harness.ingest.documents.published) == 3 + 2


async def test_an_error_of_ingest_itself_is_said_and_the_next_attempt_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = await polled()

    async def breaks(_: ListedObject) -> bytes:
        return "\u00e9".encode("ascii")

    monkeypatch.setattr(harness.origin, "read", breaks)

    with pytest.raises(UnicodeEncodeError):
        await harness.poll()
    assert await harness.once() is None  # it is not due

    poll = await harness.ingest.polls.get("acme", "wiki")
    assert (poll.state, poll.reason, poll.failures) == (PollState.FAILING, "POLL_FAILED", 1)
