"""What becomes of duplicates once their original is not what it was, whichever way that came about."""

from dataclasses import dataclass, replace

import pytest

from services.ingest.tests.documents.test_duplicates import (
    SIMILAR,
    TEXT,
    check_all,
    comparing,
    read,
    submit,
)
from services.ingest.tests.fakes import ACME, Ingest, deletion, spec, submitted
from tidemill_core.application import Request
from tidemill_core.errors import DependencyUnavailable
from tidemill_core.resources import Write
from tidemill_ingest.documents.domain.document import Document, DocumentState
from tidemill_ingest.documents.domain.submission import DocumentName
from tidemill_ingest.documents.duplicates import CompareDocuments
from tidemill_ingest.quality.policy import DuplicatePolicy, Quality
from tidemill_ingest.sources.domain import Source

LINK = Quality(duplicates=DuplicatePolicy.LINK)
LONG = replace(LINK, min_characters=100)


def write() -> Write:
    return Write(request=Request.of("", b""))


async def with_short_version_withheld() -> tuple[Ingest, Document, Document]:
    """Return an original whose newest version is withheld as too short, and its duplicate."""
    ingest = await Ingest().with_source(Source(id="cms", project="acme", quality=LONG))
    first = await submit(ingest, TEXT, "a")
    second = await submit(ingest, TEXT, "b")
    await submit(ingest, "short", "a")
    await check_all(ingest)
    assert (await read(ingest, second)).state is DocumentState.WITHHELD
    return ingest, first, second


async def loosen(ingest: Ingest) -> None:
    given = Source(id="cms", project="acme", quality=LINK)
    await ingest.managing.update(ACME, given, frozenset({"quality"}), write())


async def test_a_version_that_an_operator_released_leaves_the_duplicates_of_the_one_before_to_be_published() -> None:
    ingest, first, second = await with_short_version_withheld()

    await ingest.release(ACME, DocumentName(id=first.id), number=2, write=write())
    await check_all(ingest)

    assert (await read(ingest, second)).state is DocumentState.ACTIVE
    assert {each.document for each in ingest.fingerprints.records.values()} == {first.id, second.id}
    assert len(ingest.fingerprints.records) == 2


async def test_a_release_that_is_only_tried_has_nothing_checked() -> None:
    ingest, first, _ = await with_short_version_withheld()

    await ingest.release(ACME, DocumentName(id=first.id), number=2, write=replace(write(), validate_only=True))

    assert not ingest.fingerprints.checks


async def test_a_version_that_looser_rules_publish_leaves_the_duplicates_of_the_one_before_to_be_published() -> None:
    ingest, first, second = await with_short_version_withheld()

    await loosen(ingest)
    await ingest.judge("acme", "cms")
    await check_all(ingest)

    assert (await read(ingest, first)).version_numbered(0).number == 2
    assert (await read(ingest, second)).state is DocumentState.ACTIVE


async def test_rules_that_changed_while_a_version_was_submitted_leave_its_duplicates_to_be_published() -> None:
    ingest = await Ingest().with_source(Source(id="cms", project="acme", quality=LONG))
    await submit(ingest, TEXT, "a")
    second = await submit(ingest, TEXT, "b")
    stale = await ingest.sources.get("acme", "cms")
    await loosen(ingest)
    sources = _CheckedMeanwhile(ingest)

    command = replace(submitted("short", of=spec("a")), source=stale)
    first = await replace(ingest.accept, sources=sources)(ACME, command)  # type: ignore[arg-type]  # all that is asked
    await check_all(ingest)

    assert first.version_numbered(0).number == 2
    assert (await read(ingest, second)).state is DocumentState.ACTIVE


@dataclass
class _CheckedMeanwhile:
    """Sources that take so long to be read that all checks that are due are done."""

    ingest: Ingest

    async def get(self, project: str, source_id: str) -> Source:
        await check_all(self.ingest)
        return await self.ingest.sources.get(project, source_id)


@pytest.mark.parametrize(
    ("text", "said"),
    [(TEXT, {"title": "Another title"}), (TEXT, {"readers": ("group:hr", "group:it")}), (SIMILAR, {})],
)
async def test_an_original_stays_one_with_another_title_other_readers_or_a_small_edit(
    text: str, said: dict[str, object]
) -> None:
    ingest = await comparing(DuplicatePolicy.LINK)
    first = await submit(ingest, TEXT, "a", readers=("group:hr", "group:it", "group:law"))
    second = await submit(ingest, TEXT, "b", readers=("group:hr",))
    third = await submit(ingest, SIMILAR, "c", readers=("group:hr",))
    await check_all(ingest)

    await submit(ingest, text, "a", **{"readers": ("group:hr", "group:it", "group:law"), **said})
    await check_all(ingest)

    first, second, third = [await read(ingest, each) for each in (first, second, third)]
    assert first.version_numbered(0).number == 2
    assert [each.withheld.duplicate.document for each in (second, third)] == [first.id, first.id]  # type: ignore[union-attr]  # withheld as duplicates


async def test_an_original_whose_new_readers_leave_out_those_of_its_duplicate_is_none() -> None:
    ingest = await comparing(DuplicatePolicy.LINK)
    await submit(ingest, TEXT, "a")
    second = await submit(ingest, TEXT, "b")
    await check_all(ingest)

    await submit(ingest, TEXT, "a", readers=("group:hr",))
    await check_all(ingest)

    assert (await read(ingest, second)).state is DocumentState.ACTIVE


class _CutOff(CompareDocuments):
    """Of a process that ends before it says what it changed."""

    async def changed(self, project: str, document: str) -> None:  # noqa: ARG002 - as it is called
        raise DependencyUnavailable(document, dependency="mongodb")

    async def erase(self, project: str, document: str) -> int:  # noqa: ARG002 - ditto
        raise DependencyUnavailable(document, dependency="mongodb")


async def original_and_duplicate() -> tuple[Ingest, Document, CompareDocuments]:
    """Return what cuts off, once nothing is to be checked any more."""
    ingest = await comparing(DuplicatePolicy.LINK)
    await ingest.with_source(Source(id="wiki", project="acme", quality=LINK))
    await submit(ingest, TEXT, "a")
    second = await submit(ingest, TEXT, "b", source="wiki")
    await check_all(ingest)
    assert second.state is DocumentState.WITHHELD
    cut_off = _CutOff(documents=ingest.documents, fingerprints=ingest.fingerprints, clock=ingest.clock)
    return ingest, second, cut_off


async def test_a_deletion_that_was_cut_off_leaves_a_duplicate_to_be_published() -> None:
    ingest, second, cut_off = await original_and_duplicate()

    with pytest.raises(DependencyUnavailable):
        await replace(ingest.delete, compare=cut_off)(ACME, deletion(key="a"))
    await check_all(ingest)

    assert (await read(ingest, second)).state is DocumentState.ACTIVE
    assert {each.document for each in ingest.fingerprints.records.values()} == {second.id}


async def test_a_cut_off_version_of_a_source_that_compares_no_more_leaves_a_duplicate_to_be_published() -> None:
    ingest, second, cut_off = await original_and_duplicate()
    given = Source(id="cms", project="acme")
    await ingest.managing.update(ACME, given, frozenset({"quality"}), write())

    with pytest.raises(DependencyUnavailable):
        await replace(ingest.accept, compare=cut_off)(ACME, submitted("short", of=spec("a")))
    await check_all(ingest)

    assert (await read(ingest, second)).state is DocumentState.ACTIVE
    assert {each.document for each in ingest.fingerprints.records.values()} == {second.id}
