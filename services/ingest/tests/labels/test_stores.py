"""Labels in memory and in MongoDB."""

from datetime import timedelta

import pytest

from services.ingest.tests.labelled import LabelsHere, labels_of
from tidemill_ingest.labels import mongo, ports
from tidemill_ingest.labels.domain import ItemLabels
from tidemill_ingest.labels.mongo import COLLECTION, MongoLabels
from tidemill_ingest.labels.ports import Labels
from tidemill_kit.store.mongo import Database
from tidemill_testkit.clocks import NOON


@pytest.fixture(params=["memory", "mongo"])
async def labels(request: pytest.FixtureRequest, database: Database) -> Labels:
    if request.param == "memory":
        return LabelsHere()
    stored = MongoLabels(database[COLLECTION])
    await stored.ensure_indexes()
    return stored


async def test_what_is_kept_is_found_by_document_example_and_term(labels: Labels) -> None:
    of_document = labels_of(
        "i1", document="d1", source="cms", verdict="good", ok=True, score=0.25, adjudicator="user:olga"
    )
    of_example = labels_of("i2", example="e1", verdict="bad", at=NOON + timedelta(seconds=1))
    for project in ("acme", "other"):
        for each in (of_document, of_example):
            await labels.put(project, each)

    assert await labels.of_document("acme", "d1") == [of_document]
    assert await labels.of_examples("acme", "helpdesk_sft", {"e1", "e2"}) == {"e1": [of_example]}
    assert await labels.of_examples("acme", "other_sft", {"e1"}) == {}
    assert await labels.of_dataset("acme", "helpdesk_sft", limit=5) == {"e1": [of_example]}
    assert await labels.of_source("acme", "cms", limit=5) == [of_document]
    assert await labels.of_source("acme", "wiki", limit=5) == []
    for term in ("quality", "quality.ok=true", "quality.score=0.25", "quality.verdict=good"):
        assert await labels.documents_with("acme", term, after="", limit=5) == ["d1"]
    assert await labels.documents_with("acme", "quality", after="d1", limit=5) == []
    assert await labels.documents_with("acme", "quality.verdict=bad", after="", limit=5) == []


async def test_an_earlier_event_changes_nothing_and_what_is_removed_stays_so(labels: Labels) -> None:
    later = labels_of("i1", document="d2", seq=5, verdict="good")
    await labels.put("acme", later)
    await labels.put("acme", labels_of("i1", document="d1", seq=4, verdict="bad"))
    assert await labels.of_document("acme", "d2") == [later]

    await labels.put("acme", ItemLabels(item="i1", seq=6))
    await labels.put("acme", later)

    assert await labels.of_document("acme", "d2") == []
    assert await labels.documents_with("acme", "quality", after="", limit=5) == []
    again = labels_of("i1", document="d2", seq=7, verdict="good")
    await labels.put("acme", again)
    assert await labels.of_document("acme", "d2") == [again]


async def test_documents_people_and_datasets_are_erased_in_their_own_project(labels: Labels) -> None:
    for project in ("acme", "other"):
        await labels.put(project, labels_of("i1", document="d1", adjudicator="user:ada", verdict="good"))
        await labels.put(project, labels_of("i2", example="e1", verdict="good"))

    assert [await labels.forget_person("acme", "user:ada") for _ in range(2)] == [2, 0]
    (kept,) = await labels.of_document("acme", "d1")
    assert (kept.reviewers, kept.adjudicator) == (("user:bob",), "")
    assert [await labels.erase_document("acme", "d1") for _ in range(2)] == [1, 0]
    assert [await labels.erase_dataset("acme", "helpdesk_sft") for _ in range(2)] == [1, 0]
    assert await labels.of_document("acme", "d1") == []
    assert await labels.of_examples("acme", "helpdesk_sft", {"e1"}) == {}
    (others,) = await labels.of_document("other", "d1")
    assert others.adjudicator == "user:ada"
    assert len(await labels.of_examples("other", "helpdesk_sft", {"e1"})) == 1


async def test_of_a_document_with_many_labels_the_latest_are_shown(
    labels: Labels, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (ports, mongo):
        monkeypatch.setattr(module, "MAX_SHOWN", 2)
    for number, seconds in enumerate((2, 3, 1)):
        at = NOON + timedelta(seconds=seconds)
        await labels.put("acme", labels_of(f"i{number}", document="d1", ok=True, at=at))

    assert [each.item for each in await labels.of_document("acme", "d1")] == ["i1", "i0"]


async def test_the_same_event_again_does_not_bring_back_what_was_erased_and_a_later_one_does(labels: Labels) -> None:
    of_document, of_example = labels_of("i1", document="d1", ok=True), labels_of("i2", example="e1", ok=True)
    for each in (of_document, of_example):
        await labels.put("acme", each)
    await labels.erase_document("acme", "d1")
    await labels.erase_dataset("acme", "helpdesk_sft")

    for each in (of_document, of_example):
        await labels.put("acme", each)

    assert await labels.of_document("acme", "d1") == []
    assert await labels.of_examples("acme", "helpdesk_sft", {"e1"}) == {}
    anew = labels_of("i1", document="d1", seq=2, ok=False)
    await labels.put("acme", anew)
    await labels.put("acme", anew)
    assert await labels.of_document("acme", "d1") == [anew]


async def test_several_queues_label_one_example(labels: Labels) -> None:
    both = [labels_of(f"i{number}", example="e1", queue=f"q{number}", ok=True) for number in range(2)]
    for each in both:
        await labels.put("acme", each)

    found = (await labels.of_examples("acme", "helpdesk_sft", {"e1"}))["e1"]

    assert sorted(found, key=lambda each: each.item) == both
