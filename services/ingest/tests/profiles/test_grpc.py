"""GetSourceProfile, as callers see it."""

import pytest

from services.ingest.tests.conftest import ApiClient
from services.ingest.tests.fakes import ACME, spec, submitted
from tidemill.ingest.v1.profile_pb2 import ProfilePeriod
from tidemill.ingest.v1.profile_service_pb2 import GetSourceProfileRequest
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
    with pytest.raises(InvalidInput, match=r"significance: is 1\.5; send a number between 0 and 1"):
        await client.profiles.GetSourceProfile(GetSourceProfileRequest(source="cms", significance=1.5))
