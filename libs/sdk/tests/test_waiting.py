"""Waiting for long-running work."""

from collections.abc import Awaitable, Callable

import pytest

from tidemill_client import waiting
from tidemill_client.waiting import poll
from tidemill_core.errors import DependencyUnavailable

AWAY = DependencyUnavailable("the evaluator does not answer", dependency="evaluator")


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_S", 0.0)


def answers(*given: str | DependencyUnavailable) -> Callable[[], Awaitable[str]]:
    left = iter(given)

    async def read() -> str:
        answer = next(left)
        if isinstance(answer, DependencyUnavailable):
            raise answer
        return answer

    return read


async def _waited_for(*given: str | DependencyUnavailable) -> tuple[str, list[str]]:
    seen = list[str]()
    state = await poll(answers(*given), lambda each: each == "done", what="it", within_s=60, watch=seen.append)
    return state, seen


async def test_a_service_that_is_started_again_meanwhile_is_waited_for() -> None:
    assert await _waited_for("running", AWAY, AWAY, "running", AWAY, "done") == ("done", ["running", "running", "done"])


async def test_a_service_that_has_never_answered_is_not_waited_for() -> None:
    with pytest.raises(DependencyUnavailable):
        await _waited_for(AWAY, "done")


async def test_a_service_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "AWAY_S", 0.0)

    with pytest.raises(DependencyUnavailable):
        await _waited_for("running", AWAY, "done")
