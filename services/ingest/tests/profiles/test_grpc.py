"""ProfileService, as callers see it."""

import pytest

from services.ingest.tests.conftest import ApiClient
from services.ingest.tests.datasets.examples import message, numbered
from services.ingest.tests.fakes import ACME, spec, submitted
from services.ingest.tests.labelled import labels_of
from tidemill.ingest.v1.profile_pb2 import CategoryColumn, ProfilePeriod
from tidemill.ingest.v1.profile_service_pb2 import GetDatasetProfileRequest, GetSourceProfileRequest
from tidemill_core.errors import InvalidInput, NotFound

FIRST = ProfilePeriod(first_day="2026-01-01", last_day="2026-01-01")


async def test_a_profile_says_what_came_in_and_what_differs_from_the_baseline(client: ApiClient) -> None:
    for number in range(3):
        await client.ingest.accept(ACME, submitted(f"Page {number}.", of=spec(f"kb/{number}")))
    await client.ingest.counting()("acme", "cms")

    reply = await client.profiles.GetSourceProfile(GetSourceProfileRequest(source="cms"))

    assert (reply.period.first_day, reply.period.last_day) == ("2025-12-03", "2026-01-01")
    assert reply.profile.count == 3
    assert reply.profile.distinct_texts == pytest.approx(3, abs=0.01)
    assert [(each.day, each.count) for each in reply.profile.days] == [("2026-01-01", 3)]
    (outcome,) = (each for each in reply.profile.categories if each.name == "outcome")
    assert (outcome.exclusive, outcome.counts[0].name, outcome.counts[0].count) == (True, "published", 3)
    assert (len(reply.profile.numbers[0].quantiles), reply.profile.numbers[0].mean) == (41, 7)
    assert not reply.HasField("baseline")
    compared = await client.profiles.GetSourceProfile(
        GetSourceProfileRequest(source="cms", period=FIRST, baseline=FIRST)
    )
    assert compared.baseline == compared.profile
    assert [each.adjusted_p_value for each in compared.shifts] == [1.0] * len(compared.shifts)
    assert {"characters", "language"} <= {each.column for each in compared.shifts}


async def test_a_profile_of_a_source_has_the_labels_that_its_documents_have_now(client: ApiClient) -> None:
    for number, verdict in enumerate(("good", "good", "bad")):
        found = labels_of(f"i{number}", document=f"d{number % 2}", source="cms", verdict=verdict)
        await client.ingest.labels.put("acme", found)
    await client.ingest.labels.put("acme", labels_of("i3", document="d3", source="wiki", verdict="bad"))

    reply = await client.profiles.GetSourceProfile(GetSourceProfileRequest(source="cms", baseline=FIRST))

    categories = {each.name: counts(each) for each in reply.profile.categories}
    assert categories["reviewed"] == {"yes": 2}
    assert categories["review_labels"] == {"quality.verdict=good": 2, "quality.verdict=bad": 1}
    assert not any(each.counts for each in reply.baseline.categories if each.name == "review_labels")


async def test_a_source_without_versions_has_an_empty_profile(client: ApiClient) -> None:
    reply = await client.profiles.GetSourceProfile(GetSourceProfileRequest(source="cms", baseline=FIRST))
    assert (reply.profile.count, reply.baseline.count, list(reply.shifts)) == (0, 0, [])


async def test_what_cannot_be_answered_is_refused_by_its_field(client: ApiClient) -> None:
    with pytest.raises(NotFound, match="wiki"):
        await client.profiles.GetSourceProfile(GetSourceProfileRequest(source="wiki"))
    with pytest.raises(InvalidInput, match=r"baseline\.first_day: is 'soon'"):
        await client.profiles.GetSourceProfile(
            GetSourceProfileRequest(source="cms", baseline=ProfilePeriod(first_day="soon"))
        )
    for field in ("period", "baseline"):
        early = GetSourceProfileRequest(source="cms")
        getattr(early, field).last_day = "0001-01-10"
        with pytest.raises(InvalidInput, match=rf"{field}\.last_day: is 0001-01-10, and 30 days up to it begin before"):
            await client.profiles.GetSourceProfile(early)
    with pytest.raises(InvalidInput, match=r"significance: is 1\.5; send a number between 0 and 1"):
        await client.profiles.GetSourceProfile(GetSourceProfileRequest(source="cms", significance=1.5))


def counts(column: CategoryColumn) -> dict[str, int]:
    return {each.name: each.count for each in column.counts}


async def test_a_version_is_profiled_by_its_examples(client: ApiClient) -> None:
    await client.curated.declared()
    masked = message(
        "Whom do I ask?", "Write to ada@acme.example.", user="eve", asker="bob", cites=[("d1", 1), ("d2", 1)]
    )
    await client.curated.turned([*numbered(20), masked])

    reply = await client.profiles.GetDatasetProfile(GetDatasetProfileRequest(version="helpdesk_sft"))

    categories = {each.name: counts(each) for each in reply.profile.categories}
    numbers = {each.name: each for each in reply.profile.numbers}
    version = await client.curated.newest()
    assert (reply.version, reply.profile.count) == ("helpdesk_sft@1", 21)
    assert categories["split"] == {
        "train": version.draft.train.examples,
        "held_out": version.draft.held_out.examples,
    }
    assert categories["near_documents"] == {"none": 20, "some": 1}
    assert categories["with_identifiers"] == {"email": 1}
    assert categories["fields"] == {"asked_by": 1}
    assert (numbers["examples_of_end_user"].count, numbers["examples_of_end_user"].mean) == (8, 21 / 8)
    assert (numbers["best_passage_score"].count, numbers["best_passage_score"].mean) == (1, 0.5)
    assert numbers["passages"].quantiles[-1] == 2
    assert not reply.HasField("baseline")


async def test_passages_without_a_score_are_counted_and_have_no_best_score(client: ApiClient) -> None:
    await client.curated.declared()
    unscored = message("Whom do I ask?", "Ask the desk.", cites=[("d1", 1)])
    for passage in unscored.passages:
        passage.ClearField("score")
    await client.curated.turned([*numbered(20), unscored])

    reply = await client.profiles.GetDatasetProfile(GetDatasetProfileRequest(version="helpdesk_sft"))

    numbers = {each.name: each for each in reply.profile.numbers}
    assert numbers["passages"].quantiles[-1] == 1
    assert numbers["best_passage_score"].count == 0


async def test_a_profile_has_the_labels_of_the_examples_and_how_many_have_none(client: ApiClient) -> None:
    await client.curated.declared()
    examples = numbered(20)
    await client.curated.turned(examples)
    for number, each in enumerate(examples[:5]):
        found = labels_of(f"i{number}", example=each.id, verdict="good" if number else "bad", score=4.0)
        await client.curated.labels.put("acme", found)

    reply = await client.profiles.GetDatasetProfile(GetDatasetProfileRequest(version="helpdesk_sft"))

    categories = {each.name: counts(each) for each in reply.profile.categories}
    assert categories["reviewed"] == {"no": 15, "yes": 5}
    assert categories["review_labels"] == {"quality.score=4": 5, "quality.verdict=good": 4, "quality.verdict=bad": 1}


async def test_two_versions_are_compared(client: ApiClient) -> None:
    await client.curated.declared()
    await client.curated.turned(numbered(30))
    long = [message(f"Question number {n}?", f"Answer {n}: " + "and so on " * 40, user=f"u{n}") for n in range(60)]
    await client.curated.turned([*numbered(30), *long], seq=2)

    reply = await client.profiles.GetDatasetProfile(
        GetDatasetProfileRequest(version="helpdesk_sft@2", baseline="helpdesk_sft@1")
    )

    assert (reply.version, reply.baseline_version) == ("helpdesk_sft@2", "helpdesk_sft@1")
    assert (reply.profile.count, reply.baseline.count) == (90, 30)
    shifted = {each.column for each in reply.shifts if each.shifted}
    assert {"answer_characters", "answer_words", "examples_of_end_user"} <= shifted
    assert "split" not in shifted


async def test_versions_that_are_not_there_are_refused(client: ApiClient) -> None:
    await client.curated.declared()
    with pytest.raises(NotFound, match="helpdesk_sft"):
        await client.profiles.GetDatasetProfile(GetDatasetProfileRequest(version="helpdesk_sft@1"))
    with pytest.raises(NotFound, match="other"):
        await client.profiles.GetDatasetProfile(GetDatasetProfileRequest(version="other"))
    with pytest.raises(InvalidInput, match="version: is empty"):
        await client.profiles.GetDatasetProfile(GetDatasetProfileRequest())
