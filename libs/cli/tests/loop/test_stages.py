# ruff: noqa: ANN401 - messages of many kinds, and the values of generated enums
from typing import Any

import pytest

from libs.cli.tests.commands.answers import dataset_version, deployment, evaluation, training_run, waiting_version
from tidemill.evaluator.v1 import evaluation_pb2 as ev
from tidemill.feedback.v1.curation_pb2 import Curation, CurationProgress
from tidemill.inference.v1 import rollout_pb2 as ro
from tidemill.ingest.v1.dataset_pb2 import Dataset, WithheldVersion
from tidemill.trainer.v1 import training_pb2 as tr
from tidemill_cli.loop.stages import dataset_stage, evaluation_stage, examples_stage, rollout_stage, training_stage

PLAN = tr.TrainingPlan(id="helpdesk_lora", dataset="helpdesk_sft")
GATE = ev.Gate(id="helpdesk_gate", candidate="helpdesk_lora")


def test_too_few_examples_in_all_are_reported_beside_the_new_ones() -> None:
    curation = Curation(
        id="d", feedback=["correction"], new_examples=40, at_least=50,
        progress=CurationProgress(new_examples=40, examples=40, message="3 more being looked at"),
    )  # fmt: skip

    stage = examples_stage(curation)

    assert stage.says == "40 of 40 corrections, 40 of at least 50 in all"
    assert stage.data()["message"] == "3 more being looked at"


def test_from_when_on_fewer_reactions_are_enough_is_reported() -> None:
    curation = Curation(id="d", feedback=["correction"], new_examples=40)
    curation.progress.since.FromJsonString("2026-11-21T10:00:00Z")
    curation.at_latest_every.FromSeconds(7 * 86400)

    assert examples_stage(curation).says == "0 of 40 corrections, or fewer from 2026-11-28 10:00 UTC on"


def test_a_paused_stage_says_so_and_how_far_it_is() -> None:
    curation = Curation(id="d", feedback=["correction"], new_examples=40, paused=True)

    stage = examples_stage(curation)

    assert (stage.state, stage.says) == ("paused", "paused; 0 of 40 corrections")


@pytest.mark.parametrize(
    ("dataset", "state", "says"),
    [
        (Dataset(id="d"), "waiting", "waits for enough examples"),
        (Dataset(id="d", waiting_offers=1), "running", "a version is being published"),
        (
            Dataset(id="d", last_withheld=WithheldVersion(reason="HELD_OUT_EMPTY", message="all questions are alike")),
            "failed",
            "HELD_OUT_EMPTY: all questions are alike; no training starts",
        ),
        (
            Dataset(id="d", latest_version=2, last_withheld=WithheldVersion(reason="UNCHANGED", message="nothing new")),
            "failed",
            "UNCHANGED: nothing new; d@2 stays the newest",
        ),
    ],
)
def test_a_dataset_says_what_is_missing(dataset: Dataset, state: str, says: str) -> None:
    stage = dataset_stage(dataset, dataset_version() if dataset.latest_version else None)

    assert (stage.state, stage.says) == (state, says)


@pytest.mark.parametrize(
    ("run", "state", "says"),
    [
        (None, "waiting", "waits for a version of helpdesk_sft"),
        (tr.TRAINING_RUN_STATE_QUEUED, "waiting", "queued on helpdesk_sft@2: waits for a worker"),
        (tr.TRAINING_RUN_STATE_RUNNING, "running", "training, step 31 of 48, 70 s left"),
        (tr.TRAINING_RUN_STATE_REGISTERING, "running", "trained; its version is being registered"),
        (tr.TRAINING_RUN_STATE_CANCELLED, "failed", "cancelled; tidemill training retry run-2"),
    ],
)
def test_training_says_where_its_run_is(run: Any, state: str, says: str) -> None:
    stage = training_stage(PLAN, None if run is None else training_run(run))

    assert (stage.state, stage.says) == (state, says)


def test_a_run_that_is_done_says_how_many_examples_were_left_out_and_why() -> None:
    run = training_run(tr.TRAINING_RUN_STATE_SUCCEEDED)
    run.examples.CopyFrom(tr.TrainingExamples(offered=42, fitted=31, too_long=11))

    assert training_stage(PLAN, run).says.endswith(": 31 of 42 examples fitted (11 too long)")


def test_a_failed_run_says_why_and_what_to_type() -> None:
    run = training_run(tr.TRAINING_RUN_STATE_FAILED)
    run.reason, run.message = "OUT_OF_MEMORY", "took 6.1 GiB of 6 GiB"
    run.finish_time.FromSeconds(1_790_000_500)

    stage = training_stage(PLAN, run)

    assert stage.says == "OUT_OF_MEMORY: took 6.1 GiB of 6 GiB; tidemill training retry run-2"
    assert stage.remaining_s is None
    assert stage.since
    assert stage.since.timestamp() == 1_790_000_500


def test_a_refused_candidate_is_reported_with_the_requirement_that_did_not_hold() -> None:
    stage = evaluation_stage(GATE, evaluation(ev.EVALUATION_STATE_COMPLETED))

    assert stage.state == "failed"
    assert stage.says == (
        "helpdesk_lora@1 failed: rouge_l -0.100 [-0.150, -0.050] on suite:truth@1 "
        "(the lower bound is -0.1500, and has to be above -0.02)"
    )


def test_a_gate_without_an_evaluation_says_what_it_waits_for() -> None:
    assert evaluation_stage(GATE, None).says == "waits for a version of helpdesk_lora"


@pytest.mark.parametrize(
    ("state", "message", "word", "says"),
    [
        (ev.EVALUATION_STATE_QUEUED, "", "waiting", "helpdesk_lora@1 waits for a worker"),
        (ev.EVALUATION_STATE_QUEUED, "waits for rag: no answer", "waiting", "helpdesk_lora@1 waits for rag: no answer"),
        (ev.EVALUATION_STATE_RUNNING, "waits for memory", "running", "evaluation 40 of 108 cases; waits for memory"),
    ],
)
def test_an_evaluation_says_what_it_waits_for(state: Any, message: str, word: str, says: str) -> None:
    found = evaluation(state)
    found.message = message

    stage = evaluation_stage(GATE, found)

    assert (stage.state, stage.says) == (word, says)


@pytest.mark.parametrize(
    ("state", "step", "says"),
    [
        (ro.ROLLOUT_STATE_SHADOW, 0, "shadow, 12 of 10 requests; waits for the candidate"),
        (
            ro.ROLLOUT_STATE_CANARY,
            1,
            "canary 50 %, 12 of 40 requests (5 of at least 15 to the candidate); waits for the candidate",
        ),
    ],
)
def test_a_rollout_says_what_it_waits_for(state: Any, step: int, says: str) -> None:
    found = deployment(state)
    found.rollout.step, found.rollout.message = step, "waits for the candidate"

    assert rollout_stage(found).says == says


@pytest.mark.parametrize(
    ("weight", "baseline", "says"), [(50, 20.0, ""), (50, 19.0, "; waits for values of reopened"), (100, 0.0, "")]
)
def test_a_step_that_has_its_requests_says_of_which_metric_it_waits_for_values(
    weight: int, baseline: float, says: str
) -> None:
    found = deployment()
    found.rollout.steps[1].weight = weight
    found.rollout.counts.requests = 40
    (reopened,) = found.rollout.counts.metrics
    reopened.candidate.number, reopened.baseline.number = 20, baseline

    assert (
        rollout_stage(found).says == f"canary {weight} %, 40 of 40 requests (5 of at least 15 to the candidate){says}"
    )


def test_a_rollout_is_in_a_step_that_it_began_with_whatever_the_policy_says_now() -> None:
    found = deployment()
    del found.rollout_policy.steps[:]
    found.rollout_policy.abort.metrics.add(metric="solved", at_least=5)

    stage = rollout_stage(found)

    assert stage.says == "canary 50 %, 12 of 40 requests (5 of at least 15 to the candidate)"
    assert (stage.done, stage.total) == (12, 40)
    found.rollout.counts.requests, found.rollout.counts.metrics[0].candidate.number = 40, 3
    del found.rollout_policy.abort.metrics[:]
    assert rollout_stage(found).says.endswith("; waits for values of reopened")


@pytest.mark.parametrize(
    ("state", "word", "says"),
    [
        (ro.ROLLOUT_STATE_PROMOTED, "done", "helpdesk_lora@1 is live"),
        (ro.ROLLOUT_STATE_ROLLED_BACK, "failed", "helpdesk_lora@1 was rolled back: errors above 2 %"),
        (ro.ROLLOUT_STATE_HELD, "held", "helpdesk_lora@1 is held: errors above 2 %"),
    ],
)
def test_a_rollout_says_how_it_ended(state: Any, word: str, says: str) -> None:
    found = deployment(state)
    found.rollout.message = "errors above 2 %"

    stage = rollout_stage(found)

    assert (stage.state, stage.says) == (word, says)


def test_a_deployment_without_a_rollout_waits_for_its_gate() -> None:
    found = deployment()
    found.ClearField("rollout")

    assert rollout_stage(found).says == "waits for a candidate that passes helpdesk_gate"


def test_a_dataset_whose_newest_version_lacks_approvals_waits_for_them() -> None:
    stage = dataset_stage(Dataset(id="helpdesk_sft", latest_version=2), waiting_version())

    assert stage.state == "waiting"
    assert stage.says.endswith("waits for 2 approvals of role reviewer")
