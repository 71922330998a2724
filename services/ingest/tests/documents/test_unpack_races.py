"""A file changes while a worker reads what is inside of it: what was said last counts."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace

import pytest

from services.ingest.tests.documents.test_unpack_document import ARCHIVE, named, sent, states, text
from services.ingest.tests.fakes import ACME, Ingest, PreparationHere, deletion, spec, submitted
from services.ingest.tests.parsing.files import MAIL, ZIP, mail_with, zipped
from tidemill_core.application import ResourceKey
from tidemill_core.errors import InvalidInput
from tidemill_ingest.documents.domain.document import DocumentState
from tidemill_ingest.documents.domain.members import HeldFile
from tidemill_ingest.documents.domain.version import Text
from tidemill_ingest.errors import MembersUnderWay
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.members import ReadMember


class Meanwhile(PreparationHere):
    """Reads members, after something else happened once."""

    def __init__(self, happens: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self.happens: Callable[[], Awaitable[object]] | None = happens

    async def read_members(
        self, project: str, content: bytes, held: HeldFile, *, paths: Collection[str], masking: Masking
    ) -> Mapping[str, ReadMember]:
        happens, self.happens = self.happens, None
        if happens is not None:
            await happens()
        return await super().read_members(project, content, held, paths=paths, masking=masking)


async def begun() -> tuple[Ingest, ResourceKey]:
    """Return an ingest with an archive that a worker is to read."""
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted(zipped({"a.md": "a", "b.md": "b"}), of=ARCHIVE))
    return ingest, ingest.to_unpack.pop()


@pytest.mark.parametrize("erase", [False, True])
@pytest.mark.parametrize("reconciled", [False, True])
async def test_a_worker_that_slept_while_its_file_was_deleted_brings_nothing_back(
    *, reconciled: bool, erase: bool
) -> None:
    ingest, name = await begun()

    async def deleted() -> None:
        await ingest.delete(ACME, deletion(key="handbook.zip", erase=erase))
        if reconciled:
            await ingest.unpack_all()

    await replace(ingest.unpack, preparation=Meanwhile(deleted))(name)
    await ingest.unpack_all()

    members = [await named(ingest, f"handbook.zip!/{path}.md") for path in "ab"]
    assert [each.state for each in members] == [DocumentState.DELETED] * 2
    assert all(version.text is Text.ERASED for each in members for version in each.versions) or not erase
    assert not (await named(ingest, "handbook.zip")).contents.pending


@pytest.mark.parametrize("reconciled", [False, True])
async def test_a_worker_that_slept_while_its_file_got_another_version_changes_nothing_of_that(
    *, reconciled: bool
) -> None:
    ingest, name = await begun()

    async def changed() -> None:
        await ingest.accept(ACME, submitted(zipped({"a.md": "new", "c.md": "c"}), of=ARCHIVE))
        if reconciled:
            await ingest.unpack_all()

    await replace(ingest.unpack, preparation=Meanwhile(changed))(name)
    await ingest.unpack_all()

    assert states(await named(ingest, "handbook.zip")) == {"a.md": "stored", "c.md": "stored"}
    assert [await text(ingest, f"handbook.zip!/{path}.md") for path in "ac"] == ["new", "c"]
    assert (await named(ingest, "handbook.zip!/b.md")).state is DocumentState.DELETED
    assert ingest.quarantined() == []


@pytest.mark.parametrize("deleted", [False, True])
async def test_what_an_earlier_version_had_leaves_though_no_worker_began_the_one_between(*, deleted: bool) -> None:
    ingest, name = await begun()
    await ingest.unpack(name)
    await ingest.accept(ACME, submitted(zipped({"a.md": "anew", "b.md": "b"}), of=ARCHIVE))

    if deleted:
        await ingest.delete(ACME, deletion(key="handbook.zip"))
        await ingest.unpack(name)
    else:
        await sent(ingest, {"c.md": "c"})

    states = {each.key.partition("!/")[2]: each.state for each in ingest.documents.all() if each.parent}
    assert {states["a.md"], states["b.md"]} == {DocumentState.DELETED}


async def test_versions_that_were_never_begun_leave_nothing_to_delete() -> None:
    ingest, _ = await begun()
    await ingest.accept(ACME, submitted(zipped({"c.md": "c"}), of=ARCHIVE))

    assert (await named(ingest, "handbook.zip")).contents.leaving == ()
    await sent(ingest, {"d.md": "d"})
    assert len(ingest.documents.all()) == 2
    assert ingest.quarantined() == []


async def test_a_rejected_member_whose_key_had_a_tombstone_is_erased_with_its_archive() -> None:
    ingest = await Ingest().with_source()
    await ingest.delete(ACME, deletion(key="handbook.zip!/a.pdf", unknown_too=True))
    archive = await sent(ingest, {"a.pdf": "just words"})
    assert (await named(ingest, "handbook.zip!/a.pdf")).parent == archive.id

    await ingest.erase.record("acme", archive.id)
    await ingest.unpack_all()

    assert (await named(ingest, "handbook.zip!/a.pdf")).last_rejection is None


@pytest.mark.parametrize("outer", ["a.zip", "mail"])
async def test_an_erasure_is_not_done_before_what_is_deep_inside_is_erased(outer: str) -> None:
    inner = {"in.zip": zipped({"deep.md": "deep text"})}
    content, media_type = (zipped(inner), ZIP) if outer == "a.zip" else (mail_with(inner), MAIL)
    ingest = await Ingest().with_source()
    document = await ingest.accept(ACME, submitted(content, of=spec(outer, media_type=media_type)))
    await ingest.unpack_all()
    deep = await named(ingest, f"{outer}!/in.zip!/deep.md")
    ingest.projects.held.add(deep.id)
    await ingest.erase.record("acme", document.id)

    for name in (ingest.to_unpack[0], *ingest.to_unpack):  # a hold keeps the deepest one
        assert await ingest.unpack(name) is not None
    with pytest.raises(MembersUnderWay):
        await ingest.erase.stored_texts("acme", document.id)

    ingest.projects.held.clear()
    await ingest.unpack_all()
    assert (await named(ingest, deep.key)).state is DocumentState.DELETED
    await ingest.erase.stored_texts("acme", document.id)
    assert ingest.texts_stored() == []
    assert not (await named(ingest, outer)).contents.pending


@pytest.mark.parametrize("unknown", [True, False])
async def test_a_member_that_a_deletion_with_a_revision_keeps_out_is_refused(*, unknown: bool) -> None:
    ingest = await Ingest().with_source()
    if unknown:
        await ingest.delete(ACME, deletion(key="handbook.zip!/a.md", revision=1_700_000_000, unknown_too=True))
        archive = await sent(ingest, {"a.md": "a"})
        assert states(archive) == {"a.md": "MEMBER_DELETED"}
        assert "1700000000" in archive.contents.members[0].message
        return
    await sent(ingest, {"a.md": "a"})

    with pytest.raises(InvalidInput, match="is inside of document"):
        await ingest.delete(ACME, deletion(key="handbook.zip!/a.md", revision=1_700_000_000))

    await ingest.delete(ACME, deletion(key="handbook.zip!/a.md"))
    assert states(await sent(ingest, {"a.md": "new"})) == {"a.md": "stored"}
    assert await text(ingest, "handbook.zip!/a.md") == "new"


async def test_what_a_member_said_goes_when_another_document_gets_its_key() -> None:
    ingest = await Ingest().with_source()
    await sent(ingest, {"a.md": "secret one", "b.md": "b"})
    await sent(ingest, {"b.md": "b"})
    old = (await named(ingest, "handbook.zip!/a.md")).versions[0].object.key
    assert old in ingest.texts_stored()

    taken = await ingest.accept(ACME, submitted("mine", of=spec("handbook.zip!/a.md")))

    assert [version.text for version in taken.versions] == [Text.ERASED, Text.KEPT]
    assert old not in ingest.texts_stored()
    assert await text(ingest, "handbook.zip!/a.md") == "mine"
