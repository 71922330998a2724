"""An index version that cannot be searched, is slow, or is retired, is taken back from its users."""

from dataclasses import replace

import pytest

from services.inference.tests.fakes import ADA, asking, question
from services.inference.tests.rollouts.rollout_fakes import RolloutHarness
from services.inference.tests.rollouts.test_index_rollouts import INDEXED, canary, passed
from tidemill_core.errors import DependencyUnavailable, Internal, PreconditionFailed, TidemillError
from tidemill_inference.rollouts.domain.policy import AbortRules
from tidemill_inference.rollouts.domain.rollout import RolloutState, RolloutWasRolledBack
from tidemill_inference.rollouts.domain.step_counts import CANDIDATE, LIVE, Reason

NO_ANSWER = DependencyUnavailable("rag does not answer: deadline", dependency="rag")


async def taken_back(harness: RolloutHarness, *, within: int) -> RolloutWasRolledBack:
    """Have users ask until the candidate is taken back; return the event that says why."""
    for _ in range(within):
        await harness.asks(1)
        await harness.tick()
        if not (await harness.rollout()).active:
            break
    assert (await harness.rollout()).state is RolloutState.ROLLED_BACK
    event = harness.published[-1]
    assert isinstance(event, RolloutWasRolledBack)
    return event


@pytest.mark.parametrize("error", [NO_ANSWER, Internal("the index is damaged")])
async def test_one_that_cannot_be_searched_is_taken_back_by_its_error_rate(error: TidemillError) -> None:
    harness = await canary()
    harness.harness.rag.broken[5] = error

    event = await taken_back(harness, within=40)

    assert event.reason is Reason.ERROR_RATE
    assert len(await harness.asks(10)) == 10


async def test_one_that_cannot_be_searched_is_taken_back_while_only_copies_search_it() -> None:
    harness = RolloutHarness(INDEXED)
    await passed(harness)
    await harness.tick()
    harness.harness.rag.broken[5] = NO_ANSWER

    event = await taken_back(harness, within=10)

    assert event.reason is Reason.ERROR_RATE


async def test_an_outage_of_rag_fails_both_sides_alike_and_neither_takes_back_nor_promotes() -> None:
    harness = await canary()
    harness.harness.rag.down = NO_ANSWER

    await harness.asks(40)
    await harness.tick()

    rollout = (await harness.count(await harness.deployment())).rollout
    assert rollout is not None
    assert min(rollout.counts.baseline_failures, rollout.counts.candidate_failures) > 5
    assert rollout.active


async def test_the_time_of_an_index_version_is_that_of_its_search_too_live_and_in_copies() -> None:
    live, candidate = RolloutHarness(INDEXED), await canary()
    await passed(live)
    await live.tick()
    live.harness.rag.takes_s, candidate.harness.rag.slow_s[5] = 0.05, 0.1
    live.harness.rag.slow_s[5] = 0.1

    await live.answer.whole(ADA, question(), request=asking("r"))
    await live.shadow(live.observed[0])
    while not any(each.chosen.variant == CANDIDATE for each in candidate.observed):
        number = str(len(candidate.observed))
        await candidate.answer.whole(ADA, question(), request=asking(number))

    copied, found = live.observed, candidate.observed[-1]
    assert [each.chosen.variant for each in copied] == [LIVE, CANDIDATE]
    assert copied[0].total_s >= 0.05
    assert copied[1].total_s >= 0.1
    assert found.total_s >= 0.1


def retire(harness: RolloutHarness, number: int) -> None:
    """Have rag refuse to search it."""
    harness.indexes.ready -= {number}
    harness.harness.rag.broken[number] = PreconditionFailed("the index version is retired")


@pytest.mark.parametrize("abort", [INDEXED.abort, AbortRules()])
async def test_one_that_is_retired_in_its_canary_is_taken_back_at_once(abort: AbortRules) -> None:
    harness = await canary(replace(INDEXED, abort=abort))
    retire(harness, 5)

    await harness.tick()

    rollout = await harness.rollout()
    assert (rollout.state, rollout.message.partition(":")[0]) == (RolloutState.ROLLED_BACK, "INDEX_NOT_READY")
    assert len(await harness.asks(10)) == 10


async def test_while_rag_does_not_answer_the_canary_goes_on() -> None:
    harness = await canary()
    harness.indexes.down = DependencyUnavailable("no answer", dependency="rag")

    assert await harness.tick()

    assert (await harness.rollout()).active
