"""Outcomes of experiments: the fake and the real store keep the same promises, and erasure reaches them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from services.inference.tests.experiments.experiment_fakes import ExperimentHarness, tone
from services.inference.tests.fakes import ADA, writing
from services.inference.tests.rollouts.rollout_fakes import InMemoryOutcomes
from tidemill_core.application import Request
from tidemill_inference.experiments.domain.errors import ExperimentNotFound
from tidemill_inference.experiments.domain.experiment import Experiment
from tidemill_inference.experiments.domain.plan import Measured
from tidemill_inference.experiments.messages import experiment_message, experiment_of
from tidemill_inference.experiments.mongo import EXPERIMENTS, MongoRunningExperiments
from tidemill_inference.rollouts.domain.step_counts import Outcome
from tidemill_inference.rollouts.mongo import MongoOutcomes
from tidemill_inference.rollouts.ports import Outcomes, Reaction
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import connect
from tidemill_local import Addresses
from tidemill_testkit.clocks import NOON
from tidemill_testkit.stack import unique_name

SOLVED = Measured(metric="solved")


@pytest.fixture(params=["memory", "mongodb"])
async def outcomes(request: pytest.FixtureRequest) -> AsyncIterator[Outcomes]:
    if request.param == "memory":
        yield InMemoryOutcomes()
        return
    stack: Addresses = request.getfixturevalue("stack")
    client, name = connect(stack.mongo, timeout_s=10), unique_name("outcomes")
    kept = MongoOutcomes(client[name]["rollout_outcomes"])
    await kept.ensure_indexes()
    yield kept
    await client.drop_database(name)
    client.close()


def outcome(inference: str, *, user: str = "", epoch: int = 0, cost: int | None = None) -> Outcome:
    return Outcome(
        inference=inference,
        rollout="tone@1",
        step=epoch,
        variant="lora",
        failed=False,
        total_s=1.0,
        user=user,
        cost_nanos=cost,
    )


def said(inference: str, *, user: str) -> Reaction:
    return Reaction(
        feedback=f"f{inference}",
        seq=1,
        inference=inference,
        rollout="tone@1",
        metric="solved",
        score=1.0,
        end_user=user,
    )


async def test_outcomes_of_a_run_are_of_all_epochs_each_once_with_values_that_came_before_or_after(
    outcomes: Outcomes,
) -> None:
    before = await outcomes.mark_of_run("acme", "tone@1")
    await outcomes.react("acme", said("i1", user="u"))
    assert not await outcomes.of_run("acme", "tone@1")
    for each in (outcome("i1", user="u", cost=5), outcome("i1", user="u", cost=5), outcome("i2", epoch=1)):
        await outcomes.record("acme", each)
    await outcomes.record("globex", outcome("i3"))

    found = {each.inference: each for each in await outcomes.of_run("acme", "tone@1")}

    assert set(found) == {"i1", "i2"}
    assert (found["i1"].cost_nanos, found["i2"].cost_nanos, found["i2"].user) == (5, None, "")
    assert [value.score for value in found["i1"].values] == [1.0]
    assert found["i1"].user == found["i1"].values[0].user
    assert await outcomes.mark_of_run("acme", "tone@1") != before
    await outcomes.forget("acme", "tone@1")
    assert not await outcomes.of_run("acme", "tone@1")
    assert len(await outcomes.of_run("globex", "tone@1")) == 1


async def test_outcomes_keep_the_cohorts_of_their_requests_whatever_is_in_a_label(outcomes: Outcomes) -> None:
    cohorts = {"plan.of $user": "pro", "country": "fr"}
    await outcomes.record("acme", replace(outcome("i1"), cohorts=cohorts, asked_at=NOON))
    await outcomes.record("acme", outcome("i2"))

    found = {each.inference: (each.cohorts, each.asked_at) for each in await outcomes.of_run("acme", "tone@1")}

    assert found == {"i1": (cohorts, NOON), "i2": ({}, None)}


async def test_of_an_erased_end_user_the_outcomes_go_whole(outcomes: Outcomes) -> None:
    for each in (outcome("i1", user="u"), outcome("i2", user="v"), outcome("i3")):
        await outcomes.record("acme", each)
    await outcomes.record("globex", outcome("i4", user="u"))
    await outcomes.react("acme", said("i1", user="u"))

    assert await outcomes.of_end_user("acme", "u", validate_only=True) == 1
    assert await outcomes.of_end_user("acme", "u") == 1

    assert {each.inference for each in await outcomes.of_run("acme", "tone@1")} == {"i2", "i3"}
    assert len(await outcomes.of_run("globex", "tone@1")) == 1
    assert await outcomes.of_end_user("acme", "u") == 0
    await outcomes.remove("acme", "i2")
    assert {each.inference for each in await outcomes.of_run("acme", "tone@1")} == {"i3"}


async def test_feedback_about_an_answer_of_the_experiment_counts_and_no_other() -> None:
    harness = ExperimentHarness()
    harness.rollouts.declared.metrics.add("solved")
    await harness.asks("before")
    await harness.starts(goal=SOLVED)
    await harness.asks("u")
    before, answered = sorted(harness.rollouts.harness.inferences.all(), key=lambda each: each.end_user)

    assert await harness.says(answered.id, 1.0)
    assert not await harness.says(before.id, 1.0)
    assert not await harness.says("unknown", 1.0)
    assert not await harness.says(answered.id, 1.0, metric="another")

    counts = await harness.count(await harness.stored())
    assert sorted(arm.goal.number for arm in counts.arms.values()) == [0, 1]
    await harness.crud.stop(ADA, "tone", writing("s"))
    assert not await harness.says(answered.id, 1.0)


async def test_what_is_late_of_an_erased_user_or_an_ended_run_is_not_kept() -> None:
    harness = ExperimentHarness()
    await harness.starts()
    harness.rollouts.erased["gone"] = NOON + timedelta(minutes=1)
    for user in ("gone", "stays"):
        late = outcome(f"of {user}", user=user)
        await harness.note(ADA.project, "helpdesk", late, asked_at=NOON)
    assert [each.user for each in await harness.outcomes.of_run(ADA.project, "tone@1")] == ["stays"]

    await harness.crud.stop(ADA, "tone", writing("s"))
    await harness.note(ADA.project, "helpdesk", outcome("late"), asked_at=NOON)
    assert not await harness.outcomes.of_run(ADA.project, "tone@1")


async def test_what_a_running_experiment_counts_is_not_swept() -> None:
    harness = ExperimentHarness()
    await harness.starts()
    await harness.came("now", 1)

    async def running() -> list[tuple[str, str]]:
        return [(each.project, each.run.id) for each in harness.experiments.all() if each.run and not each.run.released]

    sweep = replace(harness.rollouts.forget, running=running)
    harness.clock.advance(timedelta(hours=2))
    assert await sweep() == 0
    assert await harness.rollouts.forget() == 1


async def test_experiments_are_found_while_they_run_and_read_as_they_were_stored(stack: Addresses) -> None:
    client, name = connect(stack.mongo, timeout_s=10), unique_name("experiments")
    kept_in = client[name]["experiments"]
    store = MongoAggregates(kept_in, codec=EXPERIMENTS, topic="", source="/tests", missing=ExperimentNotFound)
    harness = ExperimentHarness()
    await harness.starts()
    kept = await harness.stored()
    kept.version = 0
    running = MongoRunningExperiments(client[name]["experiments"])
    await running.ensure_indexes()
    try:
        await store.add(kept, request=Request.internal())
        assert (await store.get(ADA.project, "tone")).run == kept.run
        assert await running.runs() == [(ADA.project, "tone@1")]
        assert [key.id for key in (await running.pending("", without=frozenset())).items] == ["tone"]

        def ends(stored: Experiment) -> None:
            stored.stop(None, now=NOON, by="user:ada")
            stored.release("tone@1")

        await store.update(ADA.project, "tone", ends, request=Request.internal())
        assert not await running.runs()
    finally:
        await client.drop_database(name)
        client.close()


async def test_an_experiment_is_the_same_in_the_contract() -> None:
    harness = ExperimentHarness()
    await harness.starts(at_most=timedelta(days=2))
    message = experiment_message(await harness.stored())

    assert experiment_of(message, project=ADA.project).arms == tone().arms
    assert (message.run.id, message.alpha, message.at_most.seconds) == ("tone@1", 0.05, 172800)
    assert [(arm.name, arm.configuration.model, arm.weight) for arm in message.run.arms] == [
        ("now", "smollm2@1", 50),
        ("lora", "lora@1", 50),
    ]
