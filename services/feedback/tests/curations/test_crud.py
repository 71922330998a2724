"""Creating, changing and deleting curations."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.feedback.tests.builders import ADA, EVE, rule_with, write
from services.feedback.tests.changed_rules import change
from services.feedback.tests.harness import FeedbackHarness
from tidemill_core.application import PageRequest
from tidemill_core.errors import Conflict, InvalidInput
from tidemill_feedback.curations.domain.ledger import CurationRef
from tidemill_feedback.errors import CurationExists, CurationNotFound


async def test_a_deleted_curation_completes_nothing_and_its_id_counts_on() -> None:
    harness = FeedbackHarness()
    await harness.curate()
    for number in range(3):
        await harness.correct(number)
    await harness.work()
    await harness.crud.delete(ADA, "sft", write())
    await harness.work()
    assert harness.ledger.stored == {}
    with pytest.raises(CurationNotFound):
        await harness.crud.get(ADA, "sft")

    again = await harness.curate()
    assert again.completions == 1
    await harness.work(again.ref)

    assert len(harness.completions) == 2


async def test_a_worker_that_slept_through_a_deletion_drops_nothing_of_what_was_created_again() -> None:
    harness = FeedbackHarness()
    first = await harness.curate()
    await harness.correct(1)
    await harness.work()
    await harness.crud.delete(ADA, "sft", write())
    drop = harness.ledger.drop
    again = first

    async def enqueued_late(ref: CurationRef) -> None:
        nonlocal again
        again = await harness.curate()
        await harness.correct(2)
        await harness.work(again.ref)
        await drop(ref)

    harness.ledger.drop = enqueued_late  # type: ignore[method-assign]
    await harness.work(first.ref)
    harness.ledger.drop = drop  # type: ignore[method-assign]

    assert {ref for ref, _ in harness.ledger.stored} == {again.ref}
    await harness.correct(3)
    await harness.work(first.ref)
    await harness.work(again.ref)
    assert [event.batch.new for event in harness.completions] == [3]


async def test_the_same_request_creates_once_and_a_taken_id_is_refused() -> None:
    harness = FeedbackHarness()
    first = (await harness.crud.create(ADA, "sft", rule_with(), write("r1"))).curation
    again = (await harness.crud.create(ADA, "sft", rule_with(), write("r1"))).curation

    assert first.version == again.version
    with pytest.raises(CurationExists):
        await harness.crud.create(ADA, "sft", rule_with(), write("r2"))
    with pytest.raises(CurationExists):
        await harness.crud.create(ADA, "sft", rule_with(), write(validate_only=True))
    assert not (await harness.crud.list(EVE, PageRequest())).items


@pytest.mark.parametrize(
    ("rule", "reported"),
    [
        ({"dataset": "No Slug"}, "dataset: is 'No Slug'"),
        ({"deployment": ""}, "deployment: is ''"),
        ({"feedback": ()}, r"feedback: is \[\]; examples of kind demonstration are made of \[corr"),
        ({"feedback": ("rating",)}, r"feedback: is \[rating\]"),
        ({"new_examples": 0}, "new_examples: is 0; use 1 to 1000"),
        ({"new_examples": 1001}, "new_examples: is 1001; use 1 to 1000"),
        ({"max_output_chars": 100_001}, "max_output_chars: is 100001; use 0 to 100000"),
        ({"per_user_at_most": -1}, "per_user_at_most: is -1; use 0 to"),
        ({"max_repeats": -1}, "max_repeats: is -1; use 0 to"),
        ({"max_user_share": 1.5}, "max_user_share: is 1.5; use a share of 0 \\(no limit\\) to 1"),
        ({"max_user_share": float("nan")}, "max_user_share: is nan"),
        ({"min_rater_reliability": 0.5}, "min_rater_reliability: is 0.5; use 0 \\(no bound\\) to 0.47, which new"),
        ({"max_cohort_share": 0.2}, "cohort_label: is not set, and max_cohort_share is"),
        ({"cohort_label": "country"}, "max_cohort_share: is not set, and cohort_label is"),
        ({"cohort_label": "x" * 1000, "max_cohort_share": 0.2}, "cohort_label: has 1000 characters; use at most"),
        (
            {"min_output_chars": 11, "max_output_chars": 10},
            "min_output_chars: is 11; use at most max_output_chars, 10",
        ),
        ({"at_latest_every": timedelta(0)}, "at_latest_every: is 0:00:00"),
        ({"at_least": -1}, "at_least: is -1"),
        ({"labels": {str(number): "" for number in range(33)}}, "labels: has 33 entries, and 32 is the limit"),
    ],
)
async def test_a_rule_that_cannot_be_followed_is_refused_by_field_value_and_limit(
    rule: dict[str, object], reported: str
) -> None:
    harness = FeedbackHarness()

    with pytest.raises(InvalidInput, match=reported):
        await harness.curate(**rule)
    await harness.curate()
    with pytest.raises(InvalidInput, match=reported):
        await change(harness, **rule)


async def test_a_change_that_was_decided_on_another_version_is_refused() -> None:
    harness = FeedbackHarness()
    made = await harness.curate()
    await change(harness, new_examples=5)
    stale = write(etag=str(made.version))

    with pytest.raises(Conflict):
        await harness.crud.update(ADA, "sft", rule_with(new_examples=6), frozenset({"new_examples"}), stale)
    with pytest.raises(Conflict):
        await harness.crud.delete(ADA, "sft", stale)


async def test_who_creates_a_curation_or_changes_what_it_selects_is_its_author() -> None:
    harness = FeedbackHarness()
    mia, bob, eva = [replace(ADA, subject=f"user:{name}", credential=f"jti-{name}") for name in ("mia", "bob", "eva")]
    await harness.crud.create(mia, "sft", rule_with(), write())
    await harness.crud.update(bob, "sft", rule_with(new_examples=1), frozenset({"new_examples"}), write())
    paused = rule_with(paused=True, labels={"a": "b"})
    await harness.crud.update(eva, "sft", paused, frozenset({"paused", "labels"}), write())
    await harness.crud.update(ADA, "sft", rule_with(new_examples=2), frozenset({"new_examples"}), write())
    assert (await harness.curations.get("acme", "sft")).authors == ("user:mia", "user:bob")

    await harness.crud.delete(eva, "sft", write())
    await harness.crud.create(eva, "sft", rule_with(), write())
    assert (await harness.curations.get("acme", "sft")).authors == ("user:eva",)
