"""What the end of a server comes to that answers for baseline and candidate, or for one of them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.inference.tests.fakes import ADA, asking
from services.inference.tests.rollouts.rollout_fakes import POLICY, RolloutHarness
from tidemill_core.application import Caller
from tidemill_core.errors import DependencyUnavailable
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.engines.ports import ModelVersion
from tidemill_inference.errors import ServerEnded
from tidemill_inference.rollouts.domain.policy import AbortRules, OnTimeout, RolloutStep
from tidemill_inference.rollouts.domain.rollout import RolloutState, RolloutWasRolledBack
from tidemill_inference.rollouts.domain.step_counts import Reason

ALONE = replace(POLICY, steps=(RolloutStep(weight=100, requests=4),))


def ended(start: str = "s1", *, base: str = "smollm2") -> ServerEnded:
    return ServerEnded("it ended", model="smollm2@1", base=base, incarnation=start)


async def rolling(harness: RolloutHarness, monkeypatch: pytest.MonkeyPatch, *, fallback: tuple[str, ...] = ()) -> None:
    """Begin the rollout of an adapter of what is live."""
    registry = harness.harness.registry
    resolved = registry.resolve

    async def adapters(caller: Caller, reference: str, *, field: str) -> ModelVersion:
        found = await resolved(caller, reference, field=field)
        base = await resolved(caller, "smollm2@1", field=field)
        return replace(found, base=base) if found.id.startswith("lora") else found

    def falls_back(stored: Deployment) -> None:
        stored.live = stored.live.with_answer(fallback=fallback)

    monkeypatch.setattr(registry, "resolve", adapters)
    await harness.harness.deployments.update(ADA.project, "helpdesk", falls_back, request=asking("f"))
    await harness.is_rolling()


async def outcomes_of(harness: RolloutHarness) -> tuple[int, int]:
    """Return how many outcomes there are of the step, and how many ends."""
    of = ADA.project, (await harness.rollout()).id, 0
    return len(await harness.outcomes.of_step(*of)), await harness.outcomes.ends(*of)


@pytest.mark.parametrize("fallback", [(), ("smollm2@1",)])
async def test_an_end_of_what_both_share_is_counted_once_and_its_answers_against_none(
    fallback: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = RolloutHarness(ALONE)
    await rolling(harness, monkeypatch, fallback=fallback)
    for start in ("s1", "s2", ""):  # where it is down, no answer is under way
        harness.candidate.fails_before = ended(start)
        await harness.asks(3)
    assert await outcomes_of(harness) == (0, 2)

    harness.candidate.fails_before = None
    await harness.asks(4)
    await harness.tick()

    assert (await harness.rollout()).state is RolloutState.PROMOTED


async def test_more_ends_than_a_step_may_have_take_the_candidate_back_whatever_came_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = RolloutHarness(replace(ALONE, steps=(RolloutStep(weight=100, requests=40),)))
    await rolling(harness, monkeypatch)
    for number in range(3):
        harness.candidate.fails_before = ended(f"s{number}")
        await harness.asks(1)
        harness.candidate.fails_before = None
        await harness.asks(4)
    await harness.tick()

    rollout, event = await harness.rollout(), harness.published[-1]
    assert rollout.state is RolloutState.ROLLED_BACK
    assert rollout.counts.server_ends == 3
    assert "ended 3 times" in rollout.message
    assert isinstance(event, RolloutWasRolledBack)
    assert event.reason is Reason.SERVER_ENDED


async def test_ends_while_the_baseline_alone_answers_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = RolloutHarness(replace(ALONE, steps=(RolloutStep(weight=1, requests=40),)))
    await rolling(harness, monkeypatch)
    harness.harness.engine.fails_before = ended()

    await harness.asks(3)

    assert await outcomes_of(harness) == (0, 0)


async def test_a_server_of_one_side_is_that_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = RolloutHarness(replace(ALONE, abort=AbortRules(error_rate_above=0.02)))
    await rolling(harness, monkeypatch)
    harness.candidate.fails_before = ended(base="another")

    await harness.asks(20)
    assert await outcomes_of(harness) == (20, 0)
    await harness.tick()

    assert (await harness.rollout()).message.startswith("ERROR_RATE: ")


async def test_what_the_trainer_does_not_say_counts_as_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = RolloutHarness(ALONE)
    await rolling(harness, monkeypatch)
    harness.candidate.fails_before = ended(base="another")
    resolve = harness.harness.registry.resolve

    async def fails_for_live(caller: Caller, reference: str, *, field: str) -> ModelVersion:
        if reference == "smollm2@1":
            message = "it is down"
            raise DependencyUnavailable(message, dependency="trainer")
        return await resolve(caller, reference, field=field)

    monkeypatch.setattr(harness.harness.registry, "resolve", fails_for_live)
    await harness.asks(1)

    assert await outcomes_of(harness) == (0, 1)


@pytest.mark.parametrize(("answers", "state"), [(0, RolloutState.ROLLED_BACK), (1, RolloutState.PROMOTED)])
async def test_a_step_of_ends_without_an_answer_is_not_promoted_when_its_time_is_over(
    answers: int, state: RolloutState, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = RolloutHarness(replace(ALONE, on_timeout=OnTimeout.PROMOTE))
    await rolling(harness, monkeypatch)
    harness.candidate.fails_before = ended()
    await harness.asks(1)
    harness.candidate.fails_before = None
    await harness.asks(answers)
    await harness.tick(after=timedelta(hours=25))

    assert (await harness.rollout()).state is state
