"""A document with readers is there for them, its writer, operators and services; for others there is none."""

from dataclasses import replace

import pytest

from services.ingest.tests.fakes import ACME, Ingest, deletion, spec, submitted
from tidemill_core.application import Caller, PageRequest
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_core.rights import SpeaksForAnother
from tidemill_ingest.documents.crud import VersionName
from tidemill_ingest.documents.domain.submission import DocumentName
from tidemill_ingest.errors import DocumentNotFound, DocumentRestricted, VersionNotFound

HR = frozenset({"hr"})
BOB = Caller(project="acme", subject="user:bob", roles=frozenset({"contributor"}), credential="jti-1")
READER = replace(BOB, subject="user:ruth", groups=HR)
CONNECTOR = replace(BOB, subject="service_account:wiki")
OPERATOR = replace(BOB, subject="user:olivia", roles=frozenset({"operator"}))
RAG = replace(BOB, via="rag")
SECRET = replace(spec("hr/1"), readers=("group:hr",))


async def filled() -> tuple[Ingest, str]:
    """Return an ingest whose connector wrote a document for `group:hr` and one for everyone; and the first's id."""
    ingest = await Ingest().with_source()
    document = await ingest.accept(CONNECTOR, submitted("Salaries", of=SECRET))
    await ingest.accept(CONNECTOR, submitted("Holidays", of=spec("open/1")))
    return ingest, document.id


@pytest.mark.parametrize("caller", [READER, CONNECTOR, OPERATOR, RAG, ACME])
async def test_readers_and_those_who_answer_for_it_read_it(caller: Caller) -> None:
    ingest, secret = await filled()

    assert (await ingest.reading.get(caller, DocumentName(id=secret))).id == secret
    assert (await ingest.reading.text(caller, secret, number=1))[0].text == "Salaries"
    assert (await ingest.reading.explain(caller, DocumentName(key="hr/1")))[0].id == secret
    assert len((await ingest.reading.list(caller, PageRequest(), source="cms")).items) == 2


async def test_for_others_it_is_as_if_it_were_not_there() -> None:
    ingest, secret = await filled()
    reading, absent = ingest.reading, "0" * len(secret)

    async def error_of(name: DocumentName, *, text: bool = False) -> str:
        with pytest.raises(DocumentNotFound) as missing:
            await (reading.text(BOB, name.id, number=0) if text else reading.explain(BOB, name))
        return missing.value.message

    for text in (False, True):
        shown = await error_of(DocumentName(id=secret), text=text)
        assert shown.replace(secret, absent) == await error_of(DocumentName(id=absent), text=text)
    for source in ("cms", ""):
        shown = await error_of(DocumentName(source=source, key="hr/1"))
        assert shown.replace("hr/1", "hr/2") == await error_of(DocumentName(source=source, key="hr/2"))
    with pytest.raises(DocumentNotFound):
        await reading.get(BOB, DocumentName(source="cms", key="hr/1"))
    for show_all in (False, True):
        page = await reading.list(BOB, PageRequest(), show_all=show_all)
        assert [document.key for document in page.items] == ["open/1"]


async def test_others_neither_write_over_it_nor_delete_it_nor_see_it_in_the_reply() -> None:
    ingest, secret = await filled()
    before = await ingest.reading.get(OPERATOR, DocumentName(id=secret))

    with pytest.raises(DocumentRestricted):
        await ingest.accept(BOB, submitted("Mine", of=replace(spec("hr/1"), readers=())))
    with pytest.raises(DocumentRestricted):
        await ingest.accept(BOB, submitted("Salaries", of=SECRET))
    with pytest.raises(NotFound):
        await ingest.accept(BOB, replace(submitted("Mine", of=spec("hr/1")), must_exist=True))
    for command in (deletion(key="hr/1"), replace(deletion(key="hr/1"), unknown_too=True, validate_only=True)):
        with pytest.raises(DocumentNotFound):
            await ingest.delete(BOB, command)

    assert await ingest.reading.get(OPERATOR, DocumentName(id=secret)) == before


async def test_the_newest_readers_count_for_older_versions_and_each_version_s_own() -> None:
    ingest, secret = await filled()
    await ingest.accept(CONNECTOR, submitted("Public salaries", of=spec("hr/1")))

    assert (await ingest.reading.text(BOB, secret, number=2))[0].text == "Public salaries"
    with pytest.raises(VersionNotFound, match=r"no version 1: known are 2$"):
        await ingest.reading.text(BOB, secret, number=1)

    await ingest.accept(BOB, submitted("Public salaries of Bob", of=spec("hr/1")))
    assert (await ingest.reading.text(BOB, secret, number=3))[0].text == "Public salaries of Bob"
    with pytest.raises(VersionNotFound, match=r"no version 1: known are 2, 3$"):
        await ingest.reading.text(BOB, secret, number=1)

    await ingest.accept(CONNECTOR, submitted("Private again", of=SECRET))
    with pytest.raises(DocumentNotFound):
        await ingest.reading.text(BOB, secret, number=2)


async def test_a_tombstone_whose_readers_were_erased_is_for_those_who_manage_all() -> None:
    ingest, secret = await filled()
    await ingest.delete(CONNECTOR, replace(deletion(key="hr/1"), erase=True))

    with pytest.raises(DocumentNotFound):
        await ingest.reading.get(BOB, DocumentName(id=secret))
    assert (await ingest.reading.get(OPERATOR, DocumentName(id=secret))).id == secret


async def test_a_document_for_everyone_stays_one_after_its_text_was_erased() -> None:
    ingest, _ = await filled()
    named = DocumentName(source="cms", key="open/1")
    await ingest.delete(CONNECTOR, replace(deletion(key="open/1"), erase=True))

    assert not (await ingest.reading.get(BOB, named)).versions[-1].restricted
    await ingest.accept(BOB, submitted("Holidays again", of=spec("open/1")))
    assert (await ingest.reading.get(READER, named)).writer == BOB.subject


async def test_an_expired_version_of_which_nothing_is_known_counts_as_restricted() -> None:
    ingest, _ = await filled()
    document = await ingest.delete(CONNECTOR, replace(deletion(key="open/1"), erase=True))
    document.versions = tuple(replace(each, restricted=None) for each in document.versions)  # as stored before

    assert not document.readable_by(BOB)
    assert document.readable_by(OPERATOR)


@pytest.mark.parametrize("caller", [READER, CONNECTOR])
@pytest.mark.parametrize("erase", [True, False])
async def test_a_retried_deletion_is_answered_as_the_first_time(caller: Caller, *, erase: bool) -> None:
    ingest, secret = await filled()
    by_key = deletion(key="hr/1", erase=erase, request_id="r-2")
    by_id = replace(deletion(key="hr/1", erase=erase, request_id="r-1"), name=DocumentName(id=secret))
    for command in (by_id, by_key):
        first = await ingest.delete(caller, command)

        assert await ingest.delete(caller, command) == first


async def test_another_caller_is_not_shown_the_tombstone_by_the_same_request() -> None:
    ingest, _ = await filled()
    command = deletion(key="hr/1", erase=True, request_id="r-1")
    await ingest.delete(READER, command)

    with pytest.raises(DocumentNotFound):
        await ingest.delete(BOB, command)


async def test_services_ask_for_others_which_versions_these_may_not_read() -> None:
    ingest, secret = await filled()
    await ingest.accept(CONNECTOR, submitted("Salaries, for everyone", of=replace(SECRET, readers=())))
    (open_one,) = [each.id for each in (await ingest.reading.list(BOB, PageRequest())).items if each.id != secret]
    names = [VersionName(secret, 1), VersionName(secret, 2), VersionName(open_one, 1), VersionName("absent", 1)]

    async def restricted(caller: Caller, *principals: str) -> list[VersionName]:
        return list(await ingest.reading.restricted(caller, names, principals=principals))

    assert await restricted(RAG, "user:bob") == [names[0]]
    assert await restricted(RAG, "user:bob", "group:hr") == []
    assert await restricted(RAG) == [names[0]]
    assert await restricted(BOB) == [names[0]]
    assert await restricted(READER) == await restricted(OPERATOR) == []
    assert await restricted(OPERATOR, "user:bob") == [names[0]]
    with pytest.raises(SpeaksForAnother):
        await restricted(BOB, "group:hr")
    await ingest.accept(CONNECTOR, submitted("Salaries, as before", of=SECRET))
    assert await restricted(RAG, "user:bob") == names[:2], "the readers of the newest version count for all"
    with pytest.raises(InvalidInput):
        await ingest.reading.restricted(RAG, names * 100, principals=())
