"""Answers given again, over HTTP."""

from services.inference.tests.caching.cached import CachedHarness
from services.inference.tests.openai_api.apis import open_api


async def test_an_answer_given_again_is_marked_in_a_header_and_in_its_body_also_in_a_stream() -> None:
    async with open_api(CachedHarness().answer) as api:
        made = await api.ask()
        again = await api.ask()
        streamed = await api.ask(stream=True)

    assert "x-tidemill-cache" not in made.headers
    assert [each.headers["x-tidemill-cache"] for each in (again, streamed)] == ["exact", "exact"]
    use = again.json()["tidemill"]["cache"]
    assert (use["kind"], use["inference"], use["similarity"]) == ("exact", made.json()["id"], 0.0)
    assert "cache" not in made.json()["tidemill"]
