# ruff: noqa: ANN401 - messages of many kinds, and the values of generated enums
import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from libs.cli.tests.commands.answers import evaluation, training_run
from libs.cli.tests.commands.conftest import Terminal, check_reports
from libs.cli.tests.loop.running import Running
from tidemill.evaluator.v1 import evaluation_service_pb2 as ev_rpc
from tidemill.evaluator.v1.evaluation_pb2 import EVALUATION_STATE_COMPLETED, EVALUATION_STATE_FAILED
from tidemill.ingest.v1.dataset_pb2 import DATASET_SPLIT_HELD_OUT
from tidemill.ingest.v1.dataset_service_pb2 import ExportDatasetVersionResponse
from tidemill.trainer.v1 import training_pb2 as tr
from tidemill.trainer.v1 import training_service_pb2 as tr_rpc
from tidemill_core.errors import InvalidInput, PreconditionFailed


@pytest.mark.parametrize(
    ("command", "reported"),
    [
        ("feedback rate in-1 0.5", ["rating fb-1 is recorded"]),
        ("feedback correct in-1 Better.", ["correction fb-1 is recorded"]),
        ("feedback comment in-1 Nice.", ["comment fb-1 is recorded"]),
        ("feedback prefer in-1 in-2", ["preference fb-1 is recorded"]),
        ("feedback list", ["rating", "0.25", "in-1"]),
        ("feedback refused tickets --reason CONTRADICTED --newest", ["fb-2", "CONTRADICTED", "in-2", "u-9"]),
        ("feedback erase u1", ["3 feedback entries by and about u1, and 5 inference records were erased"]),
        ("feedback erase u1 --dry-run", ["inference records would be erased"]),
        ("sources list", ["wiki", "s3: https://s3.acme.example/kb/", "failing", "12"]),
        ("sources show wiki", ["12 files, 3 changed, 1 deleted, 2 refused", "ACCESS_DENIED: check the secret"]),
        ("datasets list", ["helpdesk_sft", "30%"]),
        ("datasets show helpdesk_sft", ["helpdesk_sft@2", "128 examples", "52 examples", "4 duplicates"]),
        (
            "datasets show helpdesk_sft@2",
            ["7 by label rules", "quality.verdict good or odd; quality.score not any to 1"],
        ),
        (
            "datasets approve helpdesk_sft@2 -m read",
            ["approved by", "user:ada", "read", "1 of 3 of role reviewer, no training starts before 2 more"],
        ),
        ("datasets versions helpdesk_sft", ["helpdesk_sft@2", "128", "52"]),
        ("training plans", ["helpdesk_lora", "helpdesk_sft"]),
        ("training runs", ["run-1", "succeeded", "run-2", "31/48"]),
        ("training show run-2", ["running", "31 of 48", "2.500, 1.250", "70 s"]),
        ("training start helpdesk_lora", ["queued"]),
        ("training cancel run-2", ["cancelled"]),
        ("training retry run-2", ["queued"]),
        ("suites shipped", ["forgetting", "60", "en, de", "simple facts"]),
        ("judges list", ["tone", "grader", "pointwise", "0.71 [0.52, 0.90] of 60"]),
        (
            "judges show tone",
            ["judge:tone", "Is it friendly?", "depth (1 to 3)", "passages", "by cohen kappa", "0.4 or more"],
        ),
        ("gates list", ["helpdesk_gate", "helpdesk_lora"]),
        ("gates power helpdesk_gate", ["suite:truth@1", "+0.12", "34%", "260", "assumed", "not known yet"]),
        ("evaluations list", ["ev-1", "40/108", "running"]),
        ("evaluations cancel ev-1", ["ev-1", "cancelled"]),
        ("evaluations cases ev-1", ["no answer", "change of rouge_l"]),
        ("evaluations start helpdesk_lora@1 --gate helpdesk_gate", ["ev-1"]),
        ("evaluations start --candidate helpdesk_lora@1 --gate helpdesk_gate", ["ev-1"]),
        ("rollouts list", ["canary 50 %, 12 of 40 requests"]),
        ("rollouts show helpdesk", ["helpdesk_lora@1", "->", "shadow", "approved by", "ada", "it reads well"]),
        ("rollouts show helpdesk", ["metric reopened", "0.900 / - of 4.5 / 0 values, 20 are needed, 3 immature"]),
        (
            "rollouts show helpdesk",
            ["0 of the candidate, 0 of the baseline, difference -0.02 to +0.24", "ratio of medians 0.75 or more"],
        ),
        ("rollouts timeline helpdesk", ["it is live"]),
        ("rollouts approve helpdesk", ["canary"]),
        ("rollouts promote helpdesk -m better", ["helpdesk_lora@1 is live"]),
        ("rollouts roll-back helpdesk", ["canary"]),
        ("prompts show answer", ["{{ question }}", "answer@1", "answer@2", "user:mia"]),
        ("prompts approve answer@2 -m fine", ["answer@2", "user:mia", "user:ada"]),
        ("models approve helpdesk_lora@1 -m fine", ["helpdesk_lora@1", "approved by", "user:ada", "missing"]),
        ("conversations list --end-user u1", ["chat-1", "helpdesk", "u1"]),
        ("conversations show chat-1", ["in-1", "completed", "up to turn 1: They asked about leave."]),
        ("conversations delete chat-1", ["chat-1 is deleted"]),
        ("inferences erase in-1", ["in-1 is erased"]),
        ("memories list", ["m-1", "The user lives in Oslo.", "corrected"]),
        ("memories correct m-1 Bergen", ["m-1 is corrected"]),
        ("memories delete m-1", ["m-1 is erased"]),
        ("loop list", ["helpdesk", "6"]),
        ("metrics list", ["reopened", "boolean", "min", "true, false", "-12.5 EUR", "reviewer 3", "bought 30 EUR"]),
        ("metrics show reopened", ["reopened", "boolean", "true, false; false after 7 days", "-12.5 EUR"]),
        ("metrics figures reopened -d helpdesk", ["live", "9", "0.250", "0.100 to 0.500", "worth EUR", "-25", "more"]),
        ("metrics delete reopened", ["reopened is deleted"]),
        ("feedback give in-1 reopened true", ["reopened", "recorded"]),
        ("feedback give chat-1 left bought", ["left", "recorded"]),
        ("budgets list", ["per_user", "end user", "day", "200 requests", "cost 2.50", "of helpdesk"]),
        ("deployments savings helpdesk --days 7", ["2026-11-29", "75%", "120", "0.5 USD", "sum"]),
        ("budgets usage per_user u-17", ["u-17", "3400, of which 400 reserved", "0.25, of which 0.1"]),
        ("budgets delete per_user", ["per_user is deleted"]),
        ("experiments list", ["tone", "helpdesk", "tone@2", "running"]),
        (
            "experiments show tone",
            ["tone@2", "adaptive", "now", "0.500 of 40", "0.900 of 41, difference +0.10 to +0.60"],
        ),
        ("experiments show tone", ["plan: pro", "0.900 of 14", "0.021", "plan: (none)", "few", "plan: (other)"]),
        ("experiments stop tone", ["tone@2", "lora", "GUARDRAIL: too slow"]),
        ("experiments delete tone", ["tone is deleted"]),
        ("prices list", ["small", "smollm2", "3", "0.15", "0.60"]),
        ("prices show small", ["3", "0.15", "0.60"]),
        ("prices delete small", ["small is deleted"]),
        ("models show helpdesk_lora@1", ["run run-2", "helpdesk_sft@2", "small@1"]),
        ("models versions helpdesk_lora", ["small@1 trained on helpdesk_sft@2, run run-2"]),
        ("models card helpdesk_lora@1", ["helpdesk_sft@2", "user:mia", "user:ada", "the policy (STEPS_DONE)", "ev-1"]),
        ("explain answer in-1", ["user:eva", "helpdesk_lora@1", "rollout ro-1", "PROMPT_TOO_LONG"]),
        ("explain refusal trace-1", ["user:bob", "UpdateDeployment", "PERMISSION_DENIED", "ROLE_REQUIRED"]),
        ("explain promotion helpdesk", ["user:eve", "ada", "user:mia", "helpdesk_lora@1", "helpdesk_gate"]),
        ("lineage model_version m@1", ["model version m@1", "made_by", "training run run-2", "steps=48"]),
        ("lineage model_version m@1 --forward", ["model version m@1"]),
    ],
)
async def test_a_command_reports_people_and_programs(terminal: Terminal, command: str, reported: list[str]) -> None:
    await check_reports(terminal, command, reported)


async def test_a_promotion_is_explained_without_the_approval_of_an_author(terminal: Terminal) -> None:
    found = (await asyncio.to_thread(terminal, "explain", "promotion", "helpdesk", "--json")).data

    assert found["subjects"]["authors"] == "user:mia"
    assert found["subjects"]["approved by"].startswith("ada (")
    assert "user:mia" not in found["subjects"]["approved by"]


@pytest.mark.parametrize(("option", "order"), [([], ""), (["--newest"], "create_time desc")])
async def test_a_list_is_oldest_first_unless_the_newest_are_asked_for(
    terminal: Terminal, running: Running, option: list[str], order: str
) -> None:
    orders: list[str] = []

    def listed(request: ev_rpc.ListEvaluationsRequest) -> ev_rpc.ListEvaluationsResponse:
        orders.append(request.order_by)
        return ev_rpc.ListEvaluationsResponse()

    running.answers["evaluator.v1.evaluation_service:ListEvaluations"] = listed
    assert (await asyncio.to_thread(terminal, "evaluations", "list", *option)).code == 0
    assert orders == [order]


async def test_the_status_of_a_loop_says_what_each_stage_waits_for(terminal: Terminal) -> None:
    people = await asyncio.to_thread(terminal, "loop", "status", "helpdesk")
    programs = await asyncio.to_thread(terminal, "loop", "status", "helpdesk", "--json")

    says = {stage["stage"]: stage["says"] for stage in programs.data["stages"]}
    assert says == {
        "examples": "67 of 100 corrections, 3 do not count",
        "dataset": "helpdesk_sft@2: 128 to train, 52 held out, 6 left out",
        "training": "training, step 31 of 48, 70 s left",
        "evaluation": "evaluation 40 of 108 cases",
        "rollout": "canary 50 %, 12 of 40 requests (5 of at least 15 to the candidate)",
    }
    (training,) = (stage for stage in programs.data["stages"] if stage["stage"] == "training")
    assert (training["done"], training["total"], training["remaining_s"]) == (31, 48, 70.0)
    assert training["since"].startswith("2026-")
    assert "67 of 100 corrections" in people.text


async def test_a_rollout_is_shown_with_the_steps_that_it_began_with_whatever_the_policy_says_now(
    terminal: Terminal, running: Running
) -> None:
    (step,) = running.keepers["deployment"].stored["helpdesk"].rollout_policy.steps[1:]
    step.weight, step.requests = 90, 7000

    shown = await asyncio.to_thread(terminal, "rollouts", "show", "helpdesk")

    assert "canary 50 %" in shown.text
    assert "7000" not in shown.text


async def test_a_stage_whose_service_is_away_does_not_hide_the_others(terminal: Terminal) -> None:
    terminal.environment["TIDEMILL_TRAINER_ADDRESS"] = "127.0.0.1:9"

    stages = (await asyncio.to_thread(terminal, "loop", "status", "helpdesk", "--json")).data["stages"]

    states = {stage["stage"]: stage["state"] for stage in stages}
    assert states["training"] == "unknown"
    assert states["rollout"] == "running"


async def test_a_loop_that_is_not_there_is_reported_with_those_that_are(terminal: Terminal) -> None:
    said = await asyncio.to_thread(terminal, "loop", "status", "sales", "--json")

    assert said.code == 1
    assert said.data["error"]["message"] == "loop sales not found in this project (existing: helpdesk)"


async def test_a_loop_is_paused_and_resumed(terminal: Terminal, running: Running) -> None:
    paused = await asyncio.to_thread(terminal, "loop", "pause", "helpdesk", "--json")

    assert [part["kind"] for part in paused.data["changed"]] == ["curation", "training", "gate", "rollout"]
    assert running.keepers["gate"].stored["helpdesk_gate"].paused
    deployment = running.keepers["deployment"].stored["helpdesk"]
    assert (deployment.rollouts_paused, len(deployment.rollout_policy.steps)) == (True, 2)
    status = (await asyncio.to_thread(terminal, "loop", "status", "helpdesk", "--json")).data["stages"]
    assert {s["stage"]: s["state"] for s in status} | {"dataset": ""} == {
        "examples": "paused", "dataset": "", "training": "running", "evaluation": "running", "rollout": "paused"
    }  # fmt: skip
    again = await asyncio.to_thread(terminal, "loop", "pause", "helpdesk", "--json")
    assert again.data["changed"] == []

    resumed = await asyncio.to_thread(terminal, "loop", "resume", "helpdesk", "--json")
    assert len(resumed.data["changed"]) == 4
    assert not running.keepers["deployment"].stored["helpdesk"].rollouts_paused


@pytest.mark.parametrize("form", [[], ["--json"]])
async def test_a_watched_loop_is_shown_again_as_it_turns(
    terminal: Terminal, running: Running, monkeypatch: pytest.MonkeyPatch, form: list[str]
) -> None:
    monkeypatch.setattr("tidemill_cli.turns.WATCH_S", 0.01)
    steps = iter([31, 32])

    def runs(_request: object) -> tr_rpc.ListTrainingRunsResponse:
        run = training_run()
        run.progress.step = next(steps, 0)
        if not run.progress.step:
            message = "enough was seen"
            raise InvalidInput(message)
        return tr_rpc.ListTrainingRunsResponse(runs=[run])

    running.answers["trainer.v1.training_service:ListTrainingRuns"] = runs

    said = await asyncio.to_thread(terminal.typed, "loop", "status", "helpdesk", "--watch", *form)

    assert "step 31 of 48" in said.text
    assert "step 32 of 48" in said.text
    assert (said.code, "enough was seen" in said.text) == (1, True)


@pytest.mark.heavy
async def test_a_lineage_is_drawn_into_a_file(terminal: Terminal, tmp_path: Path) -> None:
    picture = tmp_path / "lineage.svg"

    said = await asyncio.to_thread(terminal, "lineage", "model_version", "m@1", "--svg", str(picture))

    assert said.code == 0
    assert "<svg" in await asyncio.to_thread(picture.read_text)


async def test_a_comparison_is_waited_for_and_shown(terminal: Terminal, running: Running) -> None:
    done = evaluation(EVALUATION_STATE_COMPLETED)
    done.confidence = 0.995  # of a fourth candidate
    states = iter([evaluation(), evaluation(), done])
    asked: list[Any] = []

    def start(request: Any) -> ev_rpc.StartEvaluationResponse:
        asked.append(request)
        return ev_rpc.StartEvaluationResponse(evaluation=evaluation())

    running.answers["evaluator.v1.evaluation_service:StartEvaluation"] = start
    running.answers["evaluator.v1.evaluation_service:GetEvaluation"] = lambda _: ev_rpc.GetEvaluationResponse(
        evaluation=next(states)
    )

    command = ["evaluate", "--suite", "truth", "--baseline", "small@1", "--candidate", "helpdesk_lora@1"]
    said = await asyncio.to_thread(terminal, *command, "--deployment", "helpdesk")

    assert said.code == 0
    assert (asked[0].suites, asked[0].baseline, asked[0].deployment) == (["truth"], "small@1", "helpdesk")
    unanswered = "3 (candidate failed 1, not in time 2)"
    for reported in ("suite:truth@1", "-0.100", "[-0.150, -0.050]", "does not hold", "99.5% interval", unanswered):
        assert reported in " ".join(said.text.split())
    assert "rouge_l on suite:truth@1: the lower bound is -0.1500, and has to be above -0.02" in said.text


async def test_an_evaluation_that_comes_to_no_end_is_an_error(terminal: Terminal, running: Running) -> None:
    failed = evaluation(EVALUATION_STATE_FAILED)
    failed.reason, failed.message = "CANDIDATE_UNAVAILABLE", "helpdesk_lora@9 is not there"
    running.answers["evaluator.v1.evaluation_service:GetEvaluation"] = lambda _: ev_rpc.GetEvaluationResponse(
        evaluation=failed
    )

    said = await asyncio.to_thread(terminal, "evaluate", "--suite", "truth", "--candidate", "helpdesk_lora@9")

    assert said.code == 1
    assert "CANDIDATE_UNAVAILABLE" in said.text


async def test_a_run_that_fails_while_it_is_waited_for_is_an_error(terminal: Terminal, running: Running) -> None:
    failed = training_run(tr.TRAINING_RUN_STATE_FAILED)
    failed.reason, failed.message = "DIVERGED", "the loss is not a number at step 31"
    states = iter([training_run(), failed])
    running.answers["trainer.v1.training_service:GetTrainingRun"] = lambda _: tr_rpc.GetTrainingRunResponse(
        run=next(states)
    )

    said = await asyncio.to_thread(terminal, "training", "start", "helpdesk_lora", "--wait")

    assert said.code == 1
    assert "DIVERGED the loss is not a number" in said.text


async def test_what_a_service_refuses_is_reported_in_one_sentence(terminal: Terminal, running: Running) -> None:
    def refuse(_request: object) -> None:
        message = "rollout ro-1 needs a passed evaluation"
        raise PreconditionFailed(message)

    running.answers["inference.v1.deployment_service:PromoteRollout"] = refuse

    said = await asyncio.to_thread(terminal, "rollouts", "promote", "helpdesk", "--json")

    assert said.code == 1
    assert said.data["error"]["message"] == "rollout ro-1 needs a passed evaluation"


async def test_a_rating_out_of_range_names_the_field(terminal: Terminal, running: Running) -> None:
    def refuse(_request: object) -> None:
        message = "feedback.number: is 7.0; write 0 to 1"
        raise InvalidInput(message)

    running.answers["feedback.v1.feedback_service:SubmitFeedback"] = refuse

    said = await asyncio.to_thread(terminal, "feedback", "rate", "in-1", "7")

    assert said.code == 1
    assert "write 0 to 1" in said.text


async def test_a_service_that_is_not_in_the_stack_is_reported_only_when_it_is_needed(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    del terminal.environment["TIDEMILL_MONITOR_ADDRESS"]

    needed = await asyncio.to_thread(terminal, "lineage", "model_version", "m@1")
    other = await asyncio.to_thread(terminal, "training", "plans")

    assert (needed.code, other.code) == (1, 0)
    assert "the address of monitor is not configured" in needed.text


async def test_two_versions_that_differ_are_reported_by_the_exit_code(terminal: Terminal) -> None:
    different = await asyncio.to_thread(terminal, "datasets", "diff", "helpdesk_sft@1", "helpdesk_sft@2")
    same = await asyncio.to_thread(terminal, "datasets", "diff", "helpdesk_sft@2", "helpdesk_sft@2")

    assert (different.code, same.code) == (2, 0)
    assert "ex-9" in different.text


async def test_a_part_of_a_version_is_exported_whole(terminal: Terminal, running: Running, tmp_path: Path) -> None:
    asked: list[Any] = []

    async def pieces(request: Any) -> Any:
        asked.append(request)
        for piece in (b'{"id": "ex-1"}\n', b'{"id": "ex-2"}\n'):
            yield ExportDatasetVersionResponse(chunk=piece)

    running.answers["ingest.v1.dataset_service:ExportDatasetVersion"] = pieces
    command = ["datasets", "export", "helpdesk_sft@2", "--part", "held_out", "-o", str(tmp_path / "out.jsonl")]

    said = await asyncio.to_thread(terminal, *command, "--json")

    assert said.data == {"file": str(tmp_path / "out.jsonl"), "bytes": 30}
    assert await asyncio.to_thread(os.listdir, tmp_path) == ["out.jsonl"]
    assert asked[0].part == DATASET_SPLIT_HELD_OUT


def test_a_part_that_no_version_has_is_refused_by_the_words_that_there_are(terminal: Terminal) -> None:
    refused = terminal("datasets", "export", "helpdesk_sft@2", "--part", "test")

    assert refused.code == 2
    assert "'train', 'held_out'" in refused.text


async def test_an_approval_is_of_one_version(terminal: Terminal) -> None:
    for kind, name in (("prompts", "answer"), ("prompts", "answer@live"), ("models", "small"), ("models", "small@")):
        refused = await asyncio.to_thread(terminal, kind, "approve", name)
        assert refused.code == 2
        assert "name@number" in refused.text
