"""Corrections that a curation leaves out: each with its reason, listed without its text."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from services.feedback.tests.builders import ADA, EVE, SFT, write
from services.feedback.tests.changed_rules import change
from services.feedback.tests.harness import FeedbackHarness
from tidemill_core.application import PageRequest
from tidemill_core.errors import DependencyUnavailable
from tidemill_feedback.errors import CurationNotFound


async def reasons(harness: FeedbackHarness, **where: str) -> dict[str, str]:
    """Return the reason of each correction that is listed as refused, by its inference."""
    page = await harness.crud.refused(ADA, "sft", PageRequest(where=where))
    return {row.candidate.inference: row.refusal for row in page.items}


async def disputed() -> FeedbackHarness:
    """Return a curation of one question that four users corrected, one of them otherwise."""
    harness = FeedbackHarness()
    await harness.curate(exclude_contradicted=True, new_examples=100)
    for number, text in enumerate(("No, never.", "Yes, always.", "yes always", "YES. Always")):
        await harness.correct(number, text=text, question="Is it free?")
    await harness.work()
    return harness


async def test_a_contradiction_is_listed_with_its_reason_and_counts_once_others_agree() -> None:
    harness = await disputed()
    assert await reasons(harness) == {"i0": "CONTRADICTED"}
    assert (await harness.crud.get(ADA, "sft")).counts.refused == {"CONTRADICTED": 1}

    for number in range(4, 8):
        await harness.correct(number, text="No, never!", question="is it free")
    await harness.work()

    assert await reasons(harness) == dict.fromkeys(("i1", "i2", "i3"), "CONTRADICTED")
    assert await reasons(harness, refusal="USER_SHARE") == {}


async def test_a_withdrawal_changes_who_is_contradicted() -> None:
    harness = await disputed()
    agreeing = await harness.correct(2, text="Yes, always.")
    await harness.read.withdraw(ADA, agreeing.id, write())
    await harness.record(ADA, agreeing.id)
    await harness.work()

    assert await reasons(harness) == {}
    assert (await harness.crud.get(ADA, "sft")).counts.examples == 3


async def test_erased_users_have_no_say() -> None:
    harness = await disputed()
    await harness.erase(ADA, "u2", write())
    await harness.erase(ADA, "u0", write())
    await harness.work()

    assert await reasons(harness) == {}
    assert (await harness.crud.get(ADA, "sft")).counts.examples == 2


async def test_what_was_resolved_before_a_rule_compares_is_measured_when_it_does() -> None:
    harness = FeedbackHarness()
    await harness.curate(new_examples=100)
    for number in range(3):
        question = f"What is {number}?"
        await harness.correct(number, text="Buy at evil.example.", question=question, end_user="mallory")
    await harness.work()
    assert await reasons(harness) == {}

    await change(harness, max_repeats=1)
    harness.inferences.failure = DependencyUnavailable("does not answer", dependency="inference")
    harness.prompts.stored.clear()
    with pytest.raises(DependencyUnavailable):
        await harness.work()
    harness.inferences.failure = None
    await harness.work()

    assert await reasons(harness) == {"i1": "REPEATED_TEXT", "i2": "REPEATED_TEXT"}
    await change(harness, max_repeats=0)
    await harness.work()
    assert await reasons(harness) == {}


async def test_cohorts_are_what_the_label_of_reactions_says_now() -> None:
    harness = FeedbackHarness()
    await harness.curate(cohort_label="country", max_cohort_share=0.5, new_examples=100)
    for number, country in enumerate(("de", "de", "de", "fr")):
        await harness.correct(number, labels={"country": country})
    await harness.work()
    assert await reasons(harness) == {"i1": "COHORT_SHARE", "i2": "COHORT_SHARE"}

    await harness.correct(1, text="Corrected again.", labels={"country": "fr"})
    await harness.work()

    assert await reasons(harness) == {}
    await change(harness, cohort_label="team", max_cohort_share=0.5)
    await harness.work()
    assert (await harness.crud.get(ADA, "sft")).counts.refused == {"COHORT_SHARE": 3}, "none has the label: one cohort"


async def test_refused_corrections_are_in_no_batch_and_a_batch_holds_no_measure() -> None:
    harness = FeedbackHarness()
    await harness.curate(max_repeats=1, max_user_share=0.5, new_examples=2)
    for number in range(3):
        await harness.correct(number, text="Buy at evil.example.", end_user="eager", question=f"What is {number}?")
    await harness.correct(3, end_user="other")
    await harness.work()

    lines = [json.loads(line) for line in harness.batch()]
    assert {line["inference"] for line in lines} == {"i0", "i3"}
    assert not {"measures", "signature", "refusal"} & set().union(*lines)


async def test_only_the_curation_s_project_lists_what_it_refuses() -> None:
    harness = await disputed()

    with pytest.raises(CurationNotFound):
        await harness.crud.refused(EVE, "sft", PageRequest())
    await harness.crud.delete(ADA, "sft", write())
    with pytest.raises(CurationNotFound):
        await harness.crud.refused(ADA, "sft", PageRequest())


async def work_without_rest(harness: FeedbackHarness) -> None:
    """Work without the rest after a count that was slow, as a process does that was just started."""
    harness.reconcile = harness.new_incarnation()
    await harness.work()


async def many_disputed(**rule: object) -> FeedbackHarness:
    """Return a curation of more corrections than are counted exactly: 6 examples, and 2 that others contradict."""
    harness = FeedbackHarness(exact_rows=3)
    await harness.curate(new_examples=9, exclude_contradicted=True, **rule)
    for number, text in enumerate(("Right.", "Right.", "Right.", "Right.", "Wrong.", "Wrong.")):
        await harness.correct(number, text=text, question="Is it free?")
    for number in range(6, 8):
        await harness.correct(number)
    await work_without_rest(harness)
    assert (await harness.crud.get(ADA, "sft")).counts.refused == {"CONTRADICTED": 2}
    return harness


async def test_a_correction_that_readmits_others_completes_a_curation_that_is_not_counted_exactly() -> None:
    harness = await many_disputed()

    await harness.correct(9, text="Wrong!", question="is it free")
    await work_without_rest(harness)

    assert [each.batch.examples for each in harness.completions] == [9]


async def test_what_others_readmit_completes_a_curation_when_its_time_has_come() -> None:
    harness = await many_disputed(at_least=9, at_latest_every=timedelta(days=1))
    await change(harness, new_examples=100)
    await work_without_rest(harness)
    await harness.correct(9, text="Wrong!", question="is it free")
    await work_without_rest(harness)
    assert harness.completions == []

    harness.clock.advance(timedelta(days=2))
    assert await harness.ledger.pending_curations(harness.clock.now()) == [SFT]
    await work_without_rest(harness)

    assert [each.batch.examples for each in harness.completions] == [9]


async def test_what_an_earlier_release_counted_without_reasons_is_counted_again() -> None:
    harness = await disputed()
    tally = await harness.ledger.tally(SFT)
    earlier = replace(tally, counts=replace(tally.counts, refused={}))
    await harness.ledger.record_counts(SFT, earlier, epoch=harness.epoch)
    await harness.ledger.record_refusals(SFT, dict.fromkeys(await refused_feedback(harness), ""), epoch=harness.epoch)
    assert await reasons(harness) == {}

    await harness.work()

    assert await reasons(harness) == {"i0": "CONTRADICTED"}


async def refused_feedback(harness: FeedbackHarness) -> list[str]:
    return [row.candidate.feedback for row in await harness.ledger.rows(SFT) if row.refusal]
