"""How evenly examples are spread over groups."""

import pytest

from services.ingest.tests.conftest import ApiClient
from services.ingest.tests.datasets.examples import message
from tidemill.ingest.v1.profile_service_pb2 import GetDatasetProfileRequest, GetDatasetProfileResponse
from tidemill_ingest.profiles.domain.balance import Balance
from tidemill_ingest.profiles.domain.profile import NO_COHORT, OF_DATASETS, profile_of
from tidemill_ingest.profiles.domain.sketch import MAX_CATEGORIES, Sketch
from tidemill_ingest.profiles.domain.versions import UNKNOWN


def test_the_effective_number_is_that_of_groups_of_equal_size() -> None:
    even, skewed, one = Balance.of("x", [5, 5, 5, 5]), Balance.of("x", [97, 1, 1, 1]), Balance.of("x", [7, 0])

    assert even is not None
    assert (even.count, even.groups, even.largest_share) == (20, 4, 0.25)
    assert even.effective_number == pytest.approx(4)
    assert skewed is not None
    assert (skewed.groups, skewed.largest_share) == (4, 0.97)
    assert skewed.effective_number == pytest.approx(1.182, abs=0.001)
    assert one is not None
    assert (one.groups, one.effective_number) == (1, 1.0)
    assert Balance.of("x", []) is None


async def test_a_version_has_the_balance_of_languages_cohorts_and_end_users(client: ApiClient) -> None:
    await client.curated.declared()
    question = "How do I reset the password of my customer account number {}?"
    answer = "Open your settings in the portal and choose a new password for {}."
    users = ["u0" if n < 15 else f"u{n}" for n in range(20)]
    examples = [message(question.format(n), answer.format(n), user=user) for n, user in enumerate(users)]
    for number, example in enumerate(examples):
        example.cohort = "at" if number < 12 else "de" if number < 18 else ""
    await client.curated.turned(examples)

    reply = await client.profiles.GetDatasetProfile(GetDatasetProfileRequest(version="helpdesk_sft"))

    balances = {each.name: each for each in reply.profile.balances}
    assert set(balances) == {"question_language", "answer_language", "cohort", "end_user"}
    assert (balances["cohort"].count, balances["cohort"].groups, balances["cohort"].largest_share) == (18, 2, 2 / 3)
    assert (balances["end_user"].count, balances["end_user"].groups) == (20, 6)
    assert balances["end_user"].effective_number == pytest.approx(2.63, abs=0.01)
    assert cohorts(reply) == {"at": 12, "de": 6, "none": 2}


def test_what_is_in_no_group_is_no_group() -> None:
    sketch = Sketch()
    for number in range(10):
        facts = [("cohort", NO_COHORT, 1), ("question_language", "de" if number else UNKNOWN, 1)]
        sketch.add_facts(facts, [], text=number, of=str(number))

    assert {name: (each.count, each.groups) for name, each in balances_of(sketch).items()} == {
        "question_language": (9, 1)
    }


def test_each_field_of_a_review_queue_has_its_balance() -> None:
    sketch = Sketch()
    for number in range(10):
        verdict = "good" if number < 6 else "bad"
        facts = [("review_labels", "quality.private=true", 1), ("review_labels", f"quality.verdict={verdict}", 1)]
        sketch.add_facts(facts, [], text=number, of=str(number))

    found = balances_of(sketch)

    assert {name: (each.groups, each.largest_share) for name, each in found.items()} == {
        "quality.private": (1, 1.0),
        "quality.verdict": (2, 0.6),
    }


def test_categories_that_were_counted_together_have_no_balance() -> None:
    sketch = Sketch()
    for number in range(MAX_CATEGORIES + 1):
        sketch.add_facts([("review_labels", f"quality.score={number}", 1)], [], text=number, of=str(number))

    assert balances_of(sketch) == {}


async def test_all_cohorts_count_for_the_balance(client: ApiClient) -> None:
    await client.curated.declared()
    examples = [message(f"Question number {n}?", f"Answer {n}.", user=f"u{n}") for n in range(MAX_CATEGORIES + 20)]
    for number, example in enumerate(examples):
        example.cohort = f"site-{number}"
    await client.curated.turned(examples)

    reply = await client.profiles.GetDatasetProfile(GetDatasetProfileRequest(version="helpdesk_sft"))

    (cohort,) = (each for each in reply.profile.balances if each.name == "cohort")
    assert cohort.groups == MAX_CATEGORIES + 20
    assert cohort.effective_number == pytest.approx(MAX_CATEGORIES + 20)


async def test_a_cohort_of_few_examples_is_not_named(client: ApiClient) -> None:
    await client.curated.declared()
    examples = [message(f"Question number {n}?", f"Answer {n}.", user=f"u{n}") for n in range(20)]
    for number, example in enumerate(examples):
        example.cohort = "de" if number < 16 else f"site-{number}"
    await client.curated.turned(examples)

    reply = await client.profiles.GetDatasetProfile(
        GetDatasetProfileRequest(version="helpdesk_sft", baseline="helpdesk_sft@1")
    )

    assert cohorts(reply) == {"de": 16, "other": 4}
    assert "cohort" in {shift.column for shift in reply.shifts}


def balances_of(sketch: Sketch) -> dict[str, Balance]:
    return {each.name: each for each in profile_of(sketch, (), columns=OF_DATASETS).balances}


def cohorts(reply: GetDatasetProfileResponse) -> dict[str, int]:
    (column,) = (each for each in reply.profile.categories if each.name == "cohort")
    return {each.name: each.count for each in column.counts}
