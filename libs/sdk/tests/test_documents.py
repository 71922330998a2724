from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from libs.sdk.tests.fakes import WITHHELD, FakeTidemill, away
from tidemill_client import NewDocument, Tidemill
from tidemill_client.documents import Outcome
from tidemill_core.errors import DependencyUnavailable, InvalidInput


def note(number: int, *, text: str = "text") -> NewDocument:
    return NewDocument(source="manual", key=f"note-{number}.txt", content=text)


async def test_a_file_is_uploaded_with_the_media_type_of_its_name(
    tidemill: Tidemill, services: FakeTidemill, tmp_path: Path
) -> None:
    file = tmp_path / "reset.MD"
    file.write_text("# Reset " + "x" * 700_000)

    document = await tidemill.documents.upload(NewDocument(source="manual", key="kb/1", content=file))

    assert (document.project, document.source, document.key) == ("acme", "manual", "kb/1")
    assert document.current.media_type == "text/markdown"
    assert services.ingest.contents["kb/1"] == file.read_bytes()


async def test_an_upload_that_met_unavailable_is_made_again_under_the_same_request_id(
    tidemill: Tidemill, services: FakeTidemill
) -> None:
    services.ingest.fails.errors["UploadDocument"] = [away("s3"), away("s3")]

    await tidemill.documents.upload(note(1, text="x" * 3_000_000))

    assert len(services.ingest.request_ids) >= 3
    assert len(set(services.ingest.request_ids)) == 1


async def test_many_are_uploaded_a_few_at_a_time(tidemill: Tidemill, services: FakeTidemill) -> None:
    uploaded = [each async for each in tidemill.documents.upload_many((note(n) for n in range(30)), max_concurrent=4)]

    assert sorted(each.document.key for each in uploaded if each.document) == sorted(note(n).key for n in range(30))
    assert 1 < services.ingest.max_seen <= 4


async def test_what_is_stored_already_is_not_sent_again_after_a_crash(
    tidemill: Tidemill, services: FakeTidemill
) -> None:
    async with aclosing(tidemill.documents.upload_many(map(note, range(10)), max_concurrent=2)) as uploads:
        for _ in range(4):
            await anext(uploads)
    stored = set(services.ingest.contents)
    services.ingest.request_ids.clear()

    uploaded = [each async for each in tidemill.documents.upload_many(map(note, range(10)), skip_stored=True)]

    created = {each.new.key for each in uploaded if each.outcome is Outcome.CREATED}
    assert 4 <= len(stored) < 10
    assert created == {note(number).key for number in range(10)} - stored
    on_their_way = 2  # uploads that were cancelled may reach the service late
    assert len(created) <= len(services.ingest.request_ids) <= len(created) + on_their_way


async def test_what_is_stored_is_sent_where_it_changed_or_its_source_would_treat_it_otherwise(
    tidemill: Tidemill, services: FakeTidemill
) -> None:
    for number in range(3):
        await tidemill.documents.upload(note(number))
    services.ingest.outdated.add("note-1.txt")
    services.ingest.request_ids.clear()

    again = [note(0), note(1), note(2, text="changed")]
    uploaded = [each async for each in tidemill.documents.upload_many(again, skip_stored=True)]

    assert {each.new.key: each.outcome for each in uploaded}["note-2.txt"] is Outcome.UPDATED
    assert len(services.ingest.request_ids) == 2


async def test_one_that_is_refused_does_not_stop_the_others(tidemill: Tidemill, services: FakeTidemill) -> None:
    services.ingest.limit = 10
    documents = [note(1), note(2, text="far too long"), note(3)]

    uploaded = {each.new.key: each async for each in tidemill.documents.upload_many(documents)}

    assert uploaded["note-1.txt"].document
    assert uploaded["note-3.txt"].document
    refused = uploaded["note-2.txt"].refused
    assert isinstance(refused, InvalidInput)
    assert "the limit is 10" in refused.message


async def test_what_was_there_before_a_withheld_version_is_sent_again(
    tidemill: Tidemill, services: FakeTidemill
) -> None:
    await tidemill.documents.upload(note(1))
    (document,) = services.ingest.documents.values()
    document.withheld.version = 2

    assert await tidemill.documents.stored(note(1)) is None


async def test_one_that_is_withheld_is_no_update_and_says_why(tidemill: Tidemill) -> None:
    (uploaded,) = [each async for each in tidemill.documents.upload_many([note(1, text=WITHHELD.decode())])]

    assert uploaded.outcome is Outcome.WITHHELD
    assert uploaded.document
    assert uploaded.document.withheld.breaches[0].reason == "TEXT_TOO_SHORT"


async def test_a_service_that_stays_away_stops_them_all(
    tidemill: Tidemill, services: FakeTidemill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill_client.retries.PAUSES_S", (0.0,))
    services.ingest.fails.errors["UploadDocument"] = [away("s3") for _ in range(100)]

    with pytest.raises(DependencyUnavailable):
        _ = [each async for each in tidemill.documents.upload_many(note(n) for n in range(5))]


async def test_documents_are_taken_as_there_is_capacity_for_them(tidemill: Tidemill) -> None:
    taken = 0

    def endless() -> Iterator[NewDocument]:
        nonlocal taken
        while True:
            taken += 1
            yield note(taken)

    async with aclosing(tidemill.documents.upload_many(endless(), max_concurrent=3)) as uploads:
        async for _ in uploads:
            break

    assert taken <= 4


async def test_a_list_is_read_to_its_end(tidemill: Tidemill) -> None:
    async def notes() -> AsyncIterator[NewDocument]:
        for number in range(5):
            yield note(number)

    async for _ in tidemill.documents.upload_many(notes(), max_concurrent=1):
        pass

    assert [document.key async for document in tidemill.documents.all()] == [note(n).key for n in range(5)]
