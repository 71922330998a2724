"""Experiments from their declaration to their result."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.inference.tests.experiments.experiment_fakes import ExperimentHarness, tone
from services.inference.tests.fakes import ADA, writing
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput
from tidemill_inference.deployments.domain.configuration import Retrieval, Sampling
from tidemill_inference.deployments.domain.errors import ReferenceNotFound
from tidemill_inference.experiments.domain.errors import (
    DeploymentBusy,
    ExperimentNotFound,
    ExperimentRunning,
    NoRunningExperiment,
)
from tidemill_inference.experiments.domain.plan import Arm, Guardrail, Measure, Measured, Weighting
from tidemill_inference.experiments.domain.run import EndReason, StopReason
from tidemill_inference.experiments.domain.split import ExperimentHasEnded, ExperimentHasStarted, Split
from tidemill_inference.rollouts.domain.rollout import RolloutWasRefused
from tidemill_inference.rollouts.domain.step_counts import Outcome, Reason

NOW = Arm(name="now", control=True)
WARM = Arm(name="warm", sampling=Sampling(temperature=0.9))
CUSTOM = Measured(metric="solved")


async def test_arms_answer_from_the_start_on_and_records_name_experiment_and_arm() -> None:
    harness = ExperimentHarness()

    started = await harness.starts()

    assert started.run is not None
    assert [(arm.name, arm.weight) for arm in started.run.arms] == [("now", 50), ("lora", 50)]
    for number in range(20):
        await harness.asks(f"u{number}")
    variants = {record.variant for record in harness.rollouts.harness.inferences.all() if record.variant}
    assert {(each.name, each.model, each.experiment, each.rollout) for each in variants} == {
        ("now", "smollm2@1", "tone@1", ""),
        ("lora", "lora@1", "tone@1", ""),
    }
    counts = await harness.count(started)
    assert (counts.answers, sum(arm.users for arm in counts.arms.values())) == (20, 20)
    assert isinstance(harness.rollouts.published[-1], ExperimentHasStarted)
    assert await harness.crud.create(ADA, tone(), writing("c")) == await harness.stored()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"arms": (NOW, Arm(name="other"))}, "experiment.arms[1]"),
        ({"arms": (NOW,)}, "experiment.arms"),
        ({"arms": (replace(NOW, model="lora"), WARM)}, "experiment.arms[0].control"),
        ({"arms": (NOW, replace(WARM, name="live"))}, "experiment.arms[1].name"),
        ({"arms": (NOW, WARM, replace(WARM, prompt="answer"))}, "experiment.arms[2].name"),
        ({"arms": (replace(NOW, weight=50), replace(WARM, weight=40))}, "experiment.arms"),
        ({"arms": (NOW, replace(WARM, control=True))}, "experiment.arms[1].control"),
        ({"goal": Measured(measure=Measure.LATENCY)}, "experiment.goal.worst"),
        ({"goal": Measured(measure=Measure.COST, metric="solved", worst=1.0)}, "experiment.goal.metric"),
        ({"goal": CUSTOM}, "experiment.goal.metric"),
        ({"guardrails": (Guardrail(measure=Measure.FAILURES, loss_above=1.0),)}, "experiment.guardrails[0].loss_above"),
        ({"alpha": 0.5}, "experiment.alpha"),
        ({"at_most": timedelta(days=91)}, "experiment.at_most"),
        ({"min_weight": 10}, "experiment.min_weight"),
        ({"min_weight": 51, "weighting": Weighting.ADAPTIVE}, "experiment.min_weight"),
    ],
)
async def test_what_can_never_work_is_refused_by_its_field(changes: dict[str, Any], field: str) -> None:
    harness = ExperimentHarness()

    with pytest.raises(InvalidInput) as refused:
        await harness.starts(**changes)

    assert field in {violation.field for violation in refused.value.violations}
    assert not harness.experiments.all()


async def test_arms_that_are_the_same_configuration_are_refused() -> None:
    harness = ExperimentHarness()
    twice = (NOW, WARM, Arm(name="again", sampling=Sampling(temperature=0.9), prompt="answer@1"))

    with pytest.raises(InvalidInput, match="again answers with the same configuration as warm"):
        await harness.starts(arms=twice)
    with pytest.raises(InvalidInput, match="same answers with the same configuration as now"):
        await harness.starts(arms=(NOW, Arm(name="same", model="smollm2@1")))


async def test_a_deployment_with_a_rollout_or_another_experiment_is_refused_and_a_rollout_beside_one_as_well() -> None:
    harness = ExperimentHarness()
    await harness.starts()
    with pytest.raises(DeploymentBusy, match="has experiment tone@1"):
        await harness.crud.create(ADA, tone(id="other"), writing("o"))
    await harness.rollouts.passes_the_gate()
    refused = harness.rollouts.published[-1]
    assert isinstance(refused, RolloutWasRefused)
    assert refused.reason is Reason.EXPERIMENT_ACTIVE

    other = ExperimentHarness()
    await other.rollouts.is_rolling()
    with pytest.raises(DeploymentBusy, match="a rollout of lora@1"):
        await other.starts()


async def test_an_arm_that_is_shown_to_be_better_than_all_others_ends_the_experiment_and_changes_nothing() -> None:
    harness = ExperimentHarness()
    await harness.starts()
    live = (await harness.deployment()).live
    await harness.came("now", 60, failed=30)
    await harness.came("lora", 60)

    assert not await harness.tick()

    run = await harness.run()
    assert (run.reason, run.best, run.released) == (EndReason.BEST_ARM, "lora", True)
    result = run.arms[1].counts.goal
    assert result.difference is not None
    assert 0.0 < result.difference.low < 0.5 < result.difference.high
    ended = harness.rollouts.published[-1]
    assert isinstance(ended, ExperimentHasEnded)
    assert (ended.best, ended.configuration) == ("lora", run.arms[1].configuration.digest)
    deployment = await harness.deployment()
    assert (deployment.live, deployment.experiment) == (live, None)
    assert not await harness.outcomes.of_run(ADA.project, "tone@1")
    assert not await harness.tick()
    assert harness.rollouts.published[-1] is ended


async def test_an_experiment_without_visitors_ends_without_a_best_arm_and_says_how_many_came() -> None:
    harness = ExperimentHarness()
    await harness.starts(at_most=timedelta(hours=12))
    await harness.came("now", 2)

    assert await harness.tick()
    assert not await harness.tick(timedelta(hours=12))

    run = await harness.run()
    assert (run.reason, run.best) == (EndReason.AT_MOST, "")
    assert run.message == (
        "inconclusive after 0.5 days: now had 2 users, 2 of them with failures, "
        "lora had 0 users, 0 of them with failures"
    )


async def test_an_experiment_ends_with_as_many_answers_as_are_kept() -> None:
    harness = ExperimentHarness()
    harness.reconcile = replace(harness.reconcile, max_answers=10)
    await harness.starts()
    await harness.came("now", 5)
    await harness.came("lora", 5)

    assert not await harness.tick()
    assert (await harness.run()).reason is EndReason.ANSWER_LIMIT


async def test_answers_to_users_who_were_moved_are_of_those_that_are_kept() -> None:
    harness = ExperimentHarness()
    harness.reconcile = replace(harness.reconcile, max_answers=10)
    await harness.starts()
    await harness.came("lora", 5)
    for number in range(5):
        moved = Outcome(
            inference=f"moved {number}",
            rollout="tone@1",
            step=1,
            variant="now",
            failed=False,
            total_s=1.0,
            user=f"lora-0-{number}",
        )
        await harness.outcomes.record(ADA.project, moved)

    assert not await harness.tick()
    run = await harness.run()
    assert run.reason is EndReason.ANSWER_LIMIT
    assert run.message.startswith("inconclusive after 10 answers")


async def test_an_arm_that_breaks_a_guardrail_stops_and_the_control_answers_its_users_who_count_no_more() -> None:
    harness = ExperimentHarness()
    guardrails = (Guardrail(measure=Measure.LATENCY, worst=10.0, loss_above=0.1),)
    await harness.starts(arms=(NOW, WARM, Arm(name="lora", model="lora")), guardrails=guardrails)
    for arm in ("now", "warm"):
        await harness.came(arm, 40, failed=8)
    await harness.came("lora", 40, total_s=9.0)

    assert await harness.tick()

    run = await harness.run()
    stopped = {arm.name: arm.stop_reason for arm in run.arms}
    assert stopped == {"now": None, "warm": None, "lora": StopReason.GUARDRAIL}
    assert "latency has a mean score of 0.1 of 40 users" in run.arms[2].stop_message
    split = (await harness.deployment()).experiment
    assert split is not None
    assert (split.epoch, [arm.stopped for arm in split.arms]) == (1, [False, False, True])
    going = replace(split, arms=tuple(replace(arm, stopped=False) for arm in split.arms))
    moved = next(user for user in map(str, range(100)) if _arm(going, user) == "lora")
    assert _arm(split, moved) == "now"
    await harness.came("now", 1, epoch=1)
    for epoch, arm in ((0, "lora"), (1, "now")):
        first = (await harness.outcomes.of_run(ADA.project, run.id))[0]
        visit = replace(first, inference=f"{moved} {epoch}", user=moved, step=epoch, variant=arm)
        await harness.outcomes.record(ADA.project, visit)
    counts = await harness.count(await harness.stored())
    assert (counts.arms["now"].users, counts.arms["lora"].users) == (41, 41)


async def test_an_arm_whose_version_is_deleted_stops_and_without_one_beside_the_control_the_experiment_ends() -> None:
    harness = ExperimentHarness()
    await harness.starts()
    harness.rollouts.registry.missing["lora@1"] = "it was deleted"

    assert not await harness.tick()

    run = await harness.run()
    assert (run.reason, run.arms[1].stop_reason) == (EndReason.ARMS_STOPPED, StopReason.NOT_READY)
    assert run.arms[1].stop_message == "candidate lora@1 cannot answer: it was deleted"


async def test_an_index_version_that_is_retired_stops_its_arm() -> None:
    harness = ExperimentHarness()
    await harness.starts(arms=(NOW, WARM, Arm(name="index", retrieval=Retrieval(collection="handbook", index=5))))
    assert await harness.tick()
    harness.rollouts.indexes.ready.clear()

    assert await harness.tick()
    assert [arm.name for arm in (await harness.run()).active] == ["now", "warm"]


async def test_an_arm_whose_collection_is_deleted_stops() -> None:
    harness = ExperimentHarness()
    await harness.starts(arms=(NOW, WARM, Arm(name="wide", retrieval=Retrieval(collection="handbook", top_k=9))))
    assert await harness.tick()

    async def deleted(caller: Caller, retrieval: Retrieval) -> None:
        assert caller.project
        raise ReferenceNotFound(retrieval.collection, field="retrieval.collection", known=[])

    harness.rollouts.harness.rag.check = deleted  # type: ignore[method-assign]
    assert await harness.tick()

    run = await harness.run()
    assert [arm.name for arm in run.active] == ["now", "warm"]
    assert run.arms[2].stop_reason is StopReason.NOT_READY


async def test_another_live_configuration_ends_the_experiment_at_once_and_it_does_not_begin_again() -> None:
    harness = ExperimentHarness()
    await harness.starts()
    await harness.came("now", 3)

    await harness.changes(model="lora@1")
    assert (await harness.deployment()).experiment is None
    await harness.changes(model="smollm2@1")
    assert not await harness.tick()

    run = await harness.run()
    assert (run.reason, run.released, run.arms[0].counts.users) == (EndReason.DEPLOYMENT_CHANGED, True, 3)
    ended = [each for each in harness.rollouts.published if isinstance(each, ExperimentHasEnded)]
    assert [each.reason for each in ended] == ["DEPLOYMENT_CHANGED"]


async def test_an_experiment_of_a_deleted_deployment_ends() -> None:
    harness = ExperimentHarness()
    await harness.starts()
    await harness.rollouts.harness.deployments.update(
        ADA.project, "helpdesk", lambda stored: stored.delete(now=harness.clock.now()), request=writing("d").request
    )

    assert not await harness.tick()
    assert (await harness.run()).reason is EndReason.DEPLOYMENT_DELETED
    ended = [event for event in harness.rollouts.published if isinstance(event, ExperimentHasEnded)]
    assert [(event.experiment, event.reason) for event in ended] == [("tone@1", "DEPLOYMENT_DELETED")]


async def test_what_is_stopped_by_hand_can_be_declared_anew_and_deleted_and_what_runs_cannot() -> None:
    harness = ExperimentHarness()
    await harness.starts()
    changed = tone(arms=(NOW, WARM))
    with pytest.raises(ExperimentRunning, match="stop it before changing it"):
        await harness.crud.update(ADA, changed, {"arms"}, writing("u"))
    with pytest.raises(ExperimentRunning, match="stop it before deleting it"):
        await harness.crud.delete(ADA, "tone", writing("d"))
    relabelled = await harness.crud.update(ADA, tone(labels={"team": "desk"}), {"labels", "arms"}, writing("l"))
    assert relabelled.labels == {"team": "desk"}

    stopped = await harness.crud.stop(ADA, "tone", writing("s"))
    assert stopped.run is not None
    assert (stopped.run.reason, stopped.run.decided_by, stopped.run.released) == (EndReason.BY_HAND, ADA.subject, True)
    assert await harness.crud.stop(ADA, "tone", writing("s")) == stopped
    with pytest.raises(NoRunningExperiment):
        await harness.crud.stop(ADA, "tone", writing("s2"))

    again = await harness.crud.update(ADA, changed, {"arms"}, writing("u2"))
    assert again.run is not None
    assert (again.run.id, again.run.running) == ("tone@2", True)
    await harness.crud.stop(ADA, "tone", writing("s3"))
    await harness.crud.delete(ADA, "tone", writing("d2"))
    with pytest.raises(ExperimentNotFound):
        await harness.crud.get(ADA, "tone")
    restarted = await harness.starts("c2")
    assert restarted.run is not None
    assert restarted.run.id == "tone@3"


def _arm(split: Split, user: str) -> str:
    return split.arm_of(end_user=user, request_id="r").name
