"""What is inside of archives and mails becomes documents of its own, once each, and follows what it is inside of."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import pytest

from services.ingest.tests.fakes import ACME, Ingest, PreparationHere, deletion, spec, submitted
from services.ingest.tests.parsing.files import MAIL, ZIP, mail_with, zipped
from tidemill_core.application import Caller, PageRequest
from tidemill_core.errors import AlreadyExists, DependencyUnavailable
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.domain.members import HeldFile, MemberState
from tidemill_ingest.documents.domain.submission import DocumentName, DocumentSpec, document_id
from tidemill_ingest.documents.domain.version import Prepared, Text
from tidemill_ingest.limits import ConversionLimits, Limits
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.members import ReadMember
from tidemill_ingest.processes import ProcessingBroke

ARCHIVE = spec("handbook.zip", media_type=ZIP)
Parts = Mapping[str, str | bytes]


async def sent(ingest: Ingest, parts: Parts, *, key: str = "handbook.zip") -> Document:
    """Send an archive, and let the controller work until nothing is left."""
    await ingest.accept(ACME, submitted(zipped(parts), of=replace(ARCHIVE, key=key)))
    await ingest.unpack_all()
    return await named(ingest, key)


async def named(ingest: Ingest, key: str) -> Document:
    return await ingest.documents.get("acme", document_id("acme", "cms", key))


async def text(ingest: Ingest, key: str) -> str:
    document = await named(ingest, key)
    return (await ingest.reading.text(ACME, document.id, number=0))[0].text


def states(document: Document) -> dict[str, str]:
    """Return what became of the members: a reason, or a state."""
    return {each.path: each.reason or each.state.value for each in document.contents.members}


async def test_what_is_in_an_archive_becomes_documents_with_what_was_said_about_it() -> None:
    ingest = await Ingest().with_source()
    said = replace(ARCHIVE, readers=("group:hr",), metadata={"product": "vpn"}, uri="https://acme.example/h")
    await ingest.accept(ACME, submitted(zipped({"a/vpn.md": "# VPN\n\nCall ada@acme.example", "b.txt": "B"}), of=said))
    assert len(ingest.quarantined()) == 1

    await ingest.unpack_all()

    archive, vpn = await named(ingest, "handbook.zip"), await named(ingest, "handbook.zip!/a/vpn.md")
    assert states(archive) == {"a/vpn.md": "stored", "b.txt": "stored"}
    assert vpn.current is not None
    assert (vpn.parent, vpn.current.title, vpn.current.readers, vpn.current.uri, dict(vpn.current.metadata)) == (
        archive.id, "VPN", ("group:hr",), "https://acme.example/h", {"product": "vpn"},
    )  # fmt: skip
    assert await text(ingest, "handbook.zip!/a/vpn.md") == "# VPN\n\nCall [EMAIL]"
    assert await text(ingest, "handbook.zip") == "Files:\n\n- a/vpn.md\n- b.txt"
    assert ingest.quarantined() == []
    assert not archive.contents.pending


async def test_a_name_is_masked_and_two_of_one_name_stay_apart() -> None:
    ingest = await Ingest().with_source()

    archive = await sent(ingest, {"ada@acme.example/a.txt": "one", "bob@acme.example/a.txt": "two"})

    assert states(archive) == {"[EMAIL]/a.txt": "stored", "[EMAIL]/a (2).txt": "stored"}
    assert "acme.example" not in repr(ingest.documents.all())


async def test_each_member_that_cannot_be_taken_has_a_reason_of_its_own_and_the_others_are_taken() -> None:
    ingest = await Ingest(limits=Limits(conversion=ConversionLimits(member_bytes=1000))).with_source()

    archive = await sent(
        ingest,
        {
            "ok.md": "fine",
            "../../etc/passwd": "x",
            "/abs.md": "x",
            "logo.png": b"\x89PNG\r\n",
            "lying.pdf": "just words",
            "empty.md": " ",
            "big.md": "x" * 1001,
            ".hidden": "x",
            "__MACOSX/a.md": "x",
        },
    )

    assert states(archive) == {
        "ok.md": "stored",
        "../../etc/passwd": "DOCUMENT_UNSAFE",
        "/abs.md": "DOCUMENT_UNSAFE",
        "logo.png": "UNSUPPORTED_MEDIA_TYPE",
        "lying.pdf": "MEDIA_TYPE_MISMATCH",
        "empty.md": "EMPTY_DOCUMENT",
        "big.md": "DOCUMENT_TOO_LARGE",
    }
    assert archive.current is not None
    assert "2 hidden files not read" in archive.current.provenance.steps
    refused = await named(ingest, "handbook.zip!/lying.pdf")
    assert (refused.state, refused.parent) == (DocumentState.REJECTED, archive.id)
    assert refused.last_rejection is not None
    assert refused.last_rejection.reason == "MEDIA_TYPE_MISMATCH"


async def test_a_new_version_replaces_adds_and_deletes() -> None:
    ingest = await Ingest().with_source()
    await sent(ingest, {"same.md": "same", "changed.md": "old", "gone.md": "gone"})

    await sent(ingest, {"same.md": "same", "changed.md": "new", "added.md": "added"})

    numbers = {
        path: (document.state, document.version_count)
        for path in ("same.md", "changed.md", "gone.md", "added.md")
        for document in [await named(ingest, f"handbook.zip!/{path}")]
    }
    assert numbers == {
        "same.md": (DocumentState.ACTIVE, 1),
        "changed.md": (DocumentState.ACTIVE, 2),
        "gone.md": (DocumentState.DELETED, 1),
        "added.md": (DocumentState.ACTIVE, 1),
    }
    await sent(ingest, {"gone.md": "back"})
    assert await text(ingest, "handbook.zip!/gone.md") == "back"


@pytest.mark.parametrize("erase", [False, True])
async def test_members_are_deleted_and_erased_with_their_file(erase: bool) -> None:  # noqa: FBT001 - a parameter
    ingest = await Ingest().with_source()
    await sent(ingest, {"gone.md": "gone"})
    await sent(ingest, {"a.md": "a"})

    await ingest.delete(ACME, deletion(key="handbook.zip", erase=erase))
    await ingest.unpack_all()

    members = [await named(ingest, f"handbook.zip!/{path}") for path in ("a.md", "gone.md")]
    assert {each.state for each in members} == {DocumentState.DELETED}
    assert {each.versions[0].text for each in members} == {Text.ERASED if erase else Text.KEPT}
    assert (ingest.texts_stored() == []) == erase


async def test_an_erasure_that_was_requested_waits_for_the_members() -> None:
    ingest = await Ingest().with_source()
    archive = await sent(ingest, {"a.md": "secret"})

    await ingest.erase.record("acme", archive.id)
    with pytest.raises(Exception, match="is being erased"):
        await ingest.erase.stored_texts("acme", archive.id)
    await ingest.unpack_all()

    await ingest.erase.stored_texts("acme", archive.id)
    assert ingest.texts_stored() == []


async def test_archives_and_mails_in_one_another_are_unpacked_to_a_depth() -> None:
    ingest = await Ingest(limits=Limits(conversion=ConversionLimits(nesting=2))).with_source()
    inner = mail_with({"deep.zip": zipped({"x.md": "x"}), "note.md": b"note"})

    await sent(ingest, {"mails/m.eml": inner})

    assert states(await named(ingest, "handbook.zip!/mails/m.eml")) == {
        "deep.zip": "NESTED_TOO_DEEP",
        "note.md": "stored",
    }
    assert await text(ingest, "handbook.zip!/mails/m.eml!/note.md") == "note"


async def test_what_is_attached_to_a_mail_becomes_documents_a_mail_too() -> None:
    ingest = await Ingest().with_source()
    attached = {"plan.md": b"# Plan", "old.eml": mail_with({"list.csv": b"a,b\n1,2\n"}, text="Older")}

    await ingest.accept(ACME, submitted(mail_with(attached), of=spec("m.eml", media_type=MAIL)))
    await ingest.unpack_all()

    assert states(await named(ingest, "m.eml")) == {"plan.md": "stored", "old.eml": "stored"}
    assert await text(ingest, "m.eml!/old.eml!/list.csv") == "| a | b |\n| --- | --- |\n| 1 | 2 |"


async def test_what_archives_in_an_archive_unpack_to_is_bounded_together() -> None:
    ingest = await Ingest(limits=Limits(conversion=ConversionLimits(members=8))).with_source()
    inner = zipped({f"{number}.md": "x" for number in range(4)})

    archive = await sent(ingest, {"one.zip": inner, "two.zip": inner})

    assert states(archive) == {"one.zip": "DOCUMENT_TOO_COMPLEX", "two.zip": "DOCUMENT_TOO_COMPLEX"}


async def test_a_key_is_of_a_member_or_of_a_document_that_was_sent_by_itself() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted("mine", of=spec("handbook.zip!/a.md")))

    archive = await sent(ingest, {"a.md": "theirs", "b.md": "b"})

    assert states(archive) == {"a.md": "KEY_TAKEN", "b.md": "stored"}
    assert await text(ingest, "handbook.zip!/a.md") == "mine"
    with pytest.raises(AlreadyExists, match="is inside of document"):
        await ingest.accept(ACME, submitted("mine", of=spec("handbook.zip!/b.md")))
    await ingest.delete(ACME, deletion(key="handbook.zip"))
    await ingest.unpack_all()
    assert await text(ingest, "handbook.zip!/a.md") == "mine"


class Killed(BaseException):
    """Ends a reconciliation where it is, as a kill does."""


class KilledAfter(PreparationHere):
    """Kills the worker at the nth member that it prepares."""

    def __init__(self, wait: int) -> None:
        super().__init__()
        self.wait = wait

    async def prepare(self, *arguments: Any, **named: Any) -> Prepared:  # noqa: ANN401 - of the port
        self.wait -= 1
        if self.wait == 0:
            raise Killed
        return await super().prepare(*arguments, **named)


@pytest.mark.parametrize("at", [1, 2, 3])
async def test_a_kill_between_members_loses_none_and_makes_none_twice(at: int) -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted(zipped({"a.md": "a", "b.md": "b", "c.md": "c"}), of=ARCHIVE))
    (name,) = ingest.to_unpack
    killed = replace(ingest.unpack, accept=replace(ingest.accept, preparation=KilledAfter(at)))
    with pytest.raises(Killed):
        await killed(name)

    assert await ingest.unpack(name) is None

    assert set(states(await named(ingest, "handbook.zip")).values()) == {"stored"}
    members = [await named(ingest, f"handbook.zip!/{path}.md") for path in "abc"]
    assert [(each.version_count, len(each.steps)) for each in members] == [(1, 1)] * 3
    assert len(ingest.documents.published) == 4


async def test_members_that_left_quarantine_unread_are_said_to_be_gone_and_come_when_the_file_is_sent_again() -> None:
    ingest = await Ingest().with_source()
    content = zipped({"a.md": "a"})
    await ingest.accept(ACME, submitted(content, of=ARCHIVE))
    for key in ingest.quarantined():
        await ingest.objects.delete("quarantine", key)
    await ingest.unpack_all()
    archive = await named(ingest, "handbook.zip")
    assert (states(archive), await ingest.reading.is_outdated(archive)) == ({"a.md": "MEMBER_GONE"}, True)

    await ingest.accept(ACME, submitted(content, of=ARCHIVE))
    await ingest.unpack_all()

    assert states(await named(ingest, "handbook.zip")) == {"a.md": "stored"}


class Breaks(PreparationHere):
    """Breaks at each file with the word poison."""

    async def prepare(self, caller: Caller, spec: DocumentSpec, content: bytes, **named: Any) -> Prepared:  # noqa: ANN401 - ditto
        if b"poison" in content:
            why = "took too long"
            raise ProcessingBroke(why)
        return await super().prepare(caller, spec, content, **named)


async def test_a_member_that_breaks_its_process_is_tried_a_few_times_while_the_others_are_taken() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted(zipped({"a.md": "poison", "b.md": "b"}), of=ARCHIVE))
    (name,) = ingest.to_unpack
    unpack = replace(ingest.unpack, accept=replace(ingest.accept, preparation=Breaks()))

    results = [await unpack(name) for _ in range(3)]

    assert [each is not None for each in results] == [True, True, False]
    assert states(await named(ingest, "handbook.zip")) == {"a.md": "PROCESSING_FAILED", "b.md": "stored"}


async def test_a_store_that_is_down_leaves_the_members_for_later() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted(zipped({"a.md": "a"}), of=ARCHIVE))
    (name,) = ingest.to_unpack

    class Down(PreparationHere):
        async def read_members(
            self,
            project: str,
            content: bytes,  # noqa: ARG002 - nothing is read
            held: HeldFile,  # noqa: ARG002
            *,
            paths: Collection[str],  # noqa: ARG002
            masking: Masking,  # noqa: ARG002
        ) -> Mapping[str, ReadMember]:
            message = f"down for {project}"
            raise DependencyUnavailable(message, dependency="s3")

    with pytest.raises(DependencyUnavailable):
        await replace(ingest.unpack, preparation=Down())(name)

    assert (await named(ingest, "handbook.zip")).contents.members[0].state is MemberState.PENDING
    await ingest.unpack_all()
    assert states(await named(ingest, "handbook.zip")) == {"a.md": "stored"}


async def test_a_member_that_was_erased_after_its_file_was_sent_stays_away() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted(zipped({"a.md": "a"}), of=ARCHIVE))
    ingest.projects.erased[document_id("acme", "cms", "handbook.zip!/a.md")] = ingest.clock.now()

    await ingest.unpack_all()

    assert states(await named(ingest, "handbook.zip")) == {"a.md": "ERASED"}


async def test_a_member_that_a_hold_covers_is_erased_after_its_release() -> None:
    ingest = await Ingest().with_source()
    await sent(ingest, {"a.md": "a"})
    member = document_id("acme", "cms", "handbook.zip!/a.md")
    ingest.projects.held.add(member)
    await ingest.delete(ACME, deletion(key="handbook.zip", erase=True))
    (name,) = ingest.to_unpack

    assert await ingest.unpack(name) is not None
    assert len(ingest.texts_stored()) == 1

    ingest.projects.held.clear()
    await ingest.unpack_all()
    assert ingest.texts_stored() == []


async def test_members_are_listed_by_what_they_are_inside_of() -> None:
    ingest = await Ingest().with_source()
    archive = await sent(ingest, {"a.md": "a", "b.png": b"x"})
    await ingest.accept(ACME, submitted("other", of=spec("other")))

    shown = await ingest.reading.list(ACME, PageRequest(), parent=archive.id)
    every = await ingest.reading.list(ACME, PageRequest(), parent=archive.id, show_all=True)

    assert [each.key for each in shown.items] == ["handbook.zip!/a.md"]
    assert len(every.items) == 2
    assert (await ingest.reading.get(ACME, DocumentName(id=archive.id))).member_count == 2


async def test_an_archive_that_is_tried_stores_nothing() -> None:
    ingest = await Ingest().with_source()

    tried = await ingest.accept(ACME, replace(submitted(zipped({"a.md": "a"}), of=ARCHIVE), validate_only=True))

    assert tried.member_count == 1
    assert (ingest.documents.all(), ingest.quarantined(), ingest.to_unpack) == ([], [], [])
