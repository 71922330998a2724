"""How evenly examples are spread over groups."""

import pytest

from services.ingest.tests.conftest import ApiClient
from services.ingest.tests.datasets.examples import message
from tidemill.ingest.v1.profile_service_pb2 import GetDatasetProfileRequest, GetDatasetProfileResponse
from tidemill_ingest.profiles.domain.balance import Balance


def test_the_effective_number_is_that_of_groups_of_equal_size() -> None:
    even, skewed, one = Balance.of("x", [5, 5, 5, 5]), Balance.of("x", [97, 1, 1, 1]), Balance.of("x", [7, 0])

    assert even == Balance(name="x", count=20, groups=4, largest_share=0.25, effective_number=pytest.approx(4))
    assert skewed is not None
    assert (skewed.groups, skewed.largest_share) == (4, 0.97)
    assert skewed.effective_number == pytest.approx(1.182, abs=0.001)
    assert one is not None
    assert (one.groups, one.effective_number) == (1, 1.0)
    assert Balance.of("x", []) is None


async def test_a_version_has_the_balance_of_languages_cohorts_and_end_users(client: ApiClient) -> None:
    await client.curated.declared()
    examples = [message(f"Question number {n}?", f"Answer {n}.", user="u0" if n < 15 else f"u{n}") for n in range(20)]
    for number, example in enumerate(examples):
        example.cohort = "at" if number < 12 else "de" if number < 18 else ""
    await client.curated.turned(examples)

    reply = await client.profiles.GetDatasetProfile(GetDatasetProfileRequest(version="helpdesk_sft"))

    balances = {each.name: each for each in reply.profile.balances}
    assert set(balances) == {"question_language", "answer_language", "cohort", "end_user"}
    assert (balances["cohort"].groups, balances["cohort"].largest_share) == (3, 0.6)
    assert (balances["end_user"].count, balances["end_user"].groups) == (20, 6)
    assert balances["end_user"].effective_number == pytest.approx(2.63, abs=0.01)
    assert cohorts(reply) == {"at": 12, "de": 6, "none": 2}


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


def cohorts(reply: GetDatasetProfileResponse) -> dict[str, int]:
    (column,) = (each for each in reply.profile.categories if each.name == "cohort")
    return {each.name: each.count for each in column.counts}
