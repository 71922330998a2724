"""Labels are kept as they were resolved last, shown with their document, and gone with what is erased."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from services.ingest.tests.fakes import ACME, Ingest, deletion, spec, submitted
from services.ingest.tests.labelled import LabelsHere, labels_of
from tidemill_core.application import Caller, PageRequest
from tidemill_core.errors import InvalidInput
from tidemill_ingest.documents.domain.submission import document_id
from tidemill_ingest.documents.labelled import ReadLabelled
from tidemill_ingest.labels.domain import ItemLabels
from tidemill_ingest.labels.keep_labels import KeepLabels
from tidemill_testkit.clocks import NOON

VIEWER = Caller(project="acme", subject="user:vera", roles=frozenset({"viewer"}), credential="jti-1")
OPERATOR = replace(VIEWER, roles=frozenset({"operator"}))
OTHER = replace(OPERATOR, project="other")
DOCUMENT = document_id("acme", "cms", "kb/1")


class Killed(Exception):
    """The process ends here."""


@dataclass
class ErasedHere:
    """Implements `labels.ports.Erased`: by document or person."""

    until: dict[str, datetime] = field(default_factory=dict)

    async def documents(self, _: str, document: str) -> datetime | None:
        return self.until.get(document)

    async def people(self, _: str, people: Collection[str]) -> Mapping[str, datetime]:
        return {each: self.until[each] for each in people if each in self.until}


class LabelsHarness:
    """The use cases on stores in memory, with one document."""

    def __init__(self) -> None:
        self.ingest, self.erased = Ingest(), ErasedHere()
        self.labels = self.ingest.labels
        self.keep = KeepLabels(labels=self.labels, documents=self.ingest.documents, erased=self.erased)
        self.read = ReadLabelled(labels=self.labels, documents=self.ingest.documents)

    async def of_document(self, caller: Caller = OPERATOR) -> list[tuple[ItemLabels, dict[str, object]]]:
        document = await self.ingest.documents.get("acme", DOCUMENT)
        found = await self.read.of_document(caller, document)
        return [(each, {label.field: label.value for label in each.labels}) for each in found]

    async def values(self) -> list[dict[str, object]]:
        return [values for _, values in await self.of_document()]


@pytest.fixture
async def kept() -> LabelsHarness:
    kept = LabelsHarness()
    await kept.ingest.with_source()
    await kept.ingest.accept(ACME, submitted("One", of=spec("kb/1")))
    return kept


async def test_the_latest_resolution_of_an_item_counts_in_whatever_order_the_events_come(kept: LabelsHarness) -> None:
    first = labels_of("i1", document=DOCUMENT, verdict="good", score=4.0)
    second = labels_of("i1", document=DOCUMENT, seq=2, verdict="bad")

    for each in (second, first, second):
        await kept.keep(ACME, each)

    assert await kept.values() == [{"verdict": "bad"}]
    await kept.keep(ACME, ItemLabels(item="i1", seq=3))
    await kept.keep(ACME, second)
    assert await kept.values() == []


async def test_a_label_of_a_document_that_is_not_there_is_shown_once_it_is() -> None:
    kept = LabelsHarness()
    await kept.keep(ACME, labels_of("i1", document=DOCUMENT, verdict="good"))
    page = await kept.read.documents_with(OPERATOR, "quality", PageRequest())
    assert page.items == []

    await kept.ingest.with_source()
    await kept.ingest.accept(ACME, submitted("One", of=spec("kb/1")))

    assert await kept.values() == [{"verdict": "good"}]


async def test_reviewers_are_named_to_operators_only(kept: LabelsHarness) -> None:
    await kept.keep(ACME, labels_of("i1", document=DOCUMENT, verdict="good", adjudicator="user:olga"))

    ((shown, _),) = await kept.of_document()
    assert (shown.reviewers, shown.adjudicator) == (("user:ada", "user:bob"), "user:olga")
    ((shown, values),) = await kept.of_document(VIEWER)
    assert (shown.named, values) == ((), {"verdict": "good"})


async def test_documents_are_found_by_queue_field_and_value_in_their_own_project(kept: LabelsHarness) -> None:
    for number in range(2, 5):
        await kept.ingest.accept(ACME, submitted("More", of=spec(f"kb/{number}")))
    ids = sorted(document_id("acme", "cms", f"kb/{number}") for number in range(1, 5))
    for number, each in enumerate(ids):
        await kept.keep(ACME, labels_of(f"i{number}", document=each, verdict="bad" if number else "good", ok=True))

    async def found(term: str, caller: Caller = OPERATOR, **how: object) -> list[str]:
        page = await kept.read.documents_with(caller, term, PageRequest(size=10), **how)  # type: ignore[arg-type]  # as given
        return [each.id for each in page.items]

    assert await found("quality") == await found("quality.verdict") == await found("quality.ok=true") == ids
    assert await found("quality.verdict=good") == ids[:1]
    assert await found("quality.verdict=good", OTHER) == await found("quality.ok=false") == []
    assert await found("quality", source="wiki") == []
    first = await kept.read.documents_with(OPERATOR, "quality", PageRequest(size=3))
    rest = await kept.read.documents_with(OPERATOR, "quality", PageRequest(size=3, token=first.next_token))
    assert [each.id for each in (*first.items, *rest.items)] == ids
    assert rest.next_token == ""


@pytest.mark.parametrize("term", ["", "Quality", "a.b.c", "quality=good", "quality.verdict=", ".verdict", "a b"])
async def test_what_names_no_label_is_refused(kept: LabelsHarness, term: str) -> None:
    with pytest.raises(InvalidInput, match="use QUEUE"):
        await kept.read.documents_with(OPERATOR, term, PageRequest())


async def test_labels_of_a_document_go_with_its_text_and_late_ones_do_not_stay(
    kept: LabelsHarness,
) -> None:
    await kept.keep(ACME, labels_of("i1", document=DOCUMENT, verdict="good"))

    await kept.ingest.delete(ACME, deletion(erase=True))

    assert await kept.values() == []
    await kept.keep(ACME, labels_of("i2", document=DOCUMENT, verdict="good"))
    assert await kept.values() == []


async def test_a_crash_right_after_a_document_was_erased_leaves_no_labels(
    kept: LabelsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept.keep(ACME, labels_of("i1", document=DOCUMENT, verdict="good"))

    async def crash(*_: object) -> int:
        raise Killed

    with monkeypatch.context() as crashing:
        crashing.setattr(LabelsHere, "erase_document", crash)
        with pytest.raises(Killed):
            await kept.ingest.delete(ACME, deletion(erase=True))
    assert await kept.values() == [{"verdict": "good"}]

    await kept.ingest.sweep(epoch=1)

    assert await kept.values() == []


async def test_labels_go_with_the_text_of_a_deleted_document_by_its_retention(kept: LabelsHarness) -> None:
    kept.ingest.projects.deleted_documents["acme"] = timedelta(days=10)
    await kept.keep(ACME, labels_of("i1", document=DOCUMENT, verdict="good"))
    await kept.ingest.delete(ACME, deletion())

    kept.ingest.clock.advance(timedelta(days=9))
    await kept.ingest.sweep(epoch=1)
    assert await kept.values() == [{"verdict": "good"}]
    kept.ingest.clock.advance(timedelta(days=2))
    await kept.ingest.sweep(epoch=1)

    assert await kept.values() == []
    await kept.keep(ACME, labels_of("i2", document=DOCUMENT, verdict="good"))
    assert await kept.values() == []


async def test_labels_of_a_deleted_document_stay_while_its_text_does(kept: LabelsHarness) -> None:
    await kept.keep(ACME, labels_of("i1", document=DOCUMENT, verdict="good"))

    await kept.ingest.delete(ACME, deletion())

    assert await kept.values() == [{"verdict": "good"}]
    assert (await kept.read.documents_with(OPERATOR, "quality", PageRequest())).items == []
    page = await kept.read.documents_with(OPERATOR, "quality", PageRequest(), show_all=True)
    assert [each.id for each in page.items] == [DOCUMENT]


async def test_a_late_event_brings_back_neither_an_erased_document_nor_an_erased_reviewer(kept: LabelsHarness) -> None:
    kept.erased.until = {"user:ada": NOON, "user:olga": NOON - timedelta(hours=1)}
    await kept.keep(ACME, labels_of("i1", document=DOCUMENT, verdict="good", adjudicator="user:olga"))
    ((shown, _),) = await kept.of_document()
    assert shown.named == ("user:bob", "user:olga")

    kept.erased.until = {DOCUMENT: NOON}
    await kept.keep(ACME, labels_of("i2", document=DOCUMENT, verdict="good"))
    assert [each.item for each, _ in await kept.of_document()] == ["i1"]


async def test_an_erasure_that_ends_while_a_label_is_stored_removes_it(
    kept: LabelsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = LabelsHere.put

    async def erased_meanwhile(labels: LabelsHere, project: str, found: ItemLabels) -> None:
        kept.erased.until = {DOCUMENT: NOON}
        await put(labels, project, found)

    monkeypatch.setattr(LabelsHere, "put", erased_meanwhile)
    await kept.keep(ACME, labels_of("i1", document=DOCUMENT, verdict="good"))

    assert await kept.values() == []
