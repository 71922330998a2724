"""The history of runs: listed, described and compared."""

import asyncio
import json
from pathlib import Path

import pytest
import yaml

from libs.cli.tests.commands.answers import evaluation
from libs.cli.tests.commands.conftest import Terminal, check_reports
from libs.cli.tests.commands.run_answers import RUNS, run
from libs.cli.tests.loop.running import Running
from tidemill.evaluator.v1 import evaluation_service_pb2 as ev_rpc
from tidemill.evaluator.v1.evaluation_pb2 import EVALUATION_STATE_COMPLETED
from tidemill.trainer.v1 import training_service_pb2 as rpc
from tidemill.trainer.v1.training_pb2 import TrainingRun
from tidemill_cli.run_history.mlflow_folder import write_mlflow
from tidemill_cli.run_history.records import record_of
from tidemill_core.errors import Conflict, DependencyUnavailable


@pytest.fixture(autouse=True)
def known_runs(running: Running) -> None:
    running.answers["trainer.v1.training_service:GetTrainingRun"] = lambda request: rpc.GetTrainingRunResponse(
        run=RUNS[request.id]
    )
    running.answers["evaluator.v1.evaluation_service:GetEvaluation"] = lambda _: ev_rpc.GetEvaluationResponse(
        evaluation=evaluation(EVALUATION_STATE_COMPLETED)
    )


@pytest.mark.parametrize(
    ("command", "reported"),
    [
        ("runs list --plan helpdesk_lora", ["run-1", "succeeded", "run-2", "31/48"]),
        ("runs show run-1", ["kept low", "team=help", "helpdesk_sft@2  aaaaaaaaaaaa", "0.50 GB", "90 s"]),
        ("runs note run-1 better", ["run-2", "better"]),
        ("runs label run-1 quality=good team=", ["quality=good"]),
        (
            "runs compare run-1 run-2",
            ["args.learning_rate", "0.001", "0.01", "dataset_version", "helpdesk_sft@3", "held_out_loss", "1.5"],
        ),
        ("runs compare run-1 run-2", ["helpdesk_gate against small@1", "failed", "rouge_l on suite:truth@1", "-0.100"]),
    ],
)
async def test_a_command_reports_people_and_programs(terminal: Terminal, command: str, reported: list[str]) -> None:
    await check_reports(terminal, command, reported)


@pytest.mark.parametrize(
    ("typed", "excluded", "chosen"),
    [
        ("runs list", True, ""),
        ("runs list --trials", False, ""),
        ("runs list --sweep rates", False, 'sweep = "rates"'),
        ("training runs --plan helpdesk_lora", True, 'plan = "helpdesk_lora"'),
    ],
)
async def test_trials_are_listed_where_they_are_asked_for(
    terminal: Terminal, running: Running, typed: str, *, excluded: bool, chosen: str
) -> None:
    asked: list[rpc.ListTrainingRunsRequest] = []

    def listed(request: rpc.ListTrainingRunsRequest) -> rpc.ListTrainingRunsResponse:
        asked.append(request)
        return rpc.ListTrainingRunsResponse()

    running.answers["trainer.v1.training_service:ListTrainingRuns"] = listed

    await asyncio.to_thread(terminal, *typed.split())

    assert [(each.exclude_trials, each.filter) for each in asked] == [(excluded, chosen)]


async def test_a_label_is_set_again_where_the_run_changed_meanwhile(terminal: Terminal, running: Running) -> None:
    changed = [Conflict("it changed"), Conflict("it changed")]
    asked: list[rpc.UpdateTrainingRunRequest] = []

    def described(request: rpc.UpdateTrainingRunRequest) -> rpc.UpdateTrainingRunResponse:
        asked.append(request)
        if changed:
            raise changed.pop()
        return rpc.UpdateTrainingRunResponse(run=request.run)

    running.answers["trainer.v1.training_service:UpdateTrainingRun"] = described

    said = await asyncio.to_thread(terminal, "runs", "label", "run-1", "quality=good", "--json")

    assert (said.code, len(asked)) == (0, 3)
    assert said.data["labels"] == {"team": "help", "quality": "good"}
    assert asked[-1].run.etag == "7"


async def test_trials_of_a_sweep_are_compared_by_their_numbers(terminal: Terminal) -> None:
    said = await asyncio.to_thread(terminal, "runs", "compare", "rates/1", "rates/2", "--json")

    assert [each["id"] for each in said.data["runs"]] == ["run-1", "run-2"]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["run-1"], "2 to 20"),
        (["run-1", "run-1"], "named twice"),
        (["rates/1", "rates/9"], "has no trial '9'; it has 1 to 3"),
    ],
)
async def test_what_cannot_be_compared_is_refused(terminal: Terminal, names: list[str], why: str) -> None:
    said = await asyncio.to_thread(terminal, "runs", "compare", *names)

    assert said.code
    assert why in said.text


async def test_a_run_that_is_named_twice_is_found_while_it_changes(terminal: Terminal, running: Running) -> None:
    steps = iter(range(10))
    running.answers["trainer.v1.training_service:GetTrainingRun"] = lambda request: rpc.GetTrainingRunResponse(
        run=run(request.id, etag=str(next(steps)))
    )

    said = await asyncio.to_thread(terminal, "runs", "compare", "rates/1", "run-1")

    assert said.code
    assert "run-1 is named twice" in said.text


async def test_runs_are_compared_without_evaluations_where_these_cannot_be_read(
    terminal: Terminal, running: Running
) -> None:
    def down(_request: object) -> ev_rpc.ListEvaluationsResponse:
        message = "no answer"
        raise DependencyUnavailable(message, dependency="evaluator")

    running.answers["evaluator.v1.evaluation_service:ListEvaluations"] = down

    said = await asyncio.to_thread(terminal, "runs", "compare", "run-1", "run-2")

    assert said.code == 0
    assert "evaluations are not shown" in said.text


@pytest.mark.heavy
async def test_the_page_of_a_comparison_has_each_curve_and_nothing_from_elsewhere(
    terminal: Terminal, running: Running, tmp_path: Path
) -> None:
    with_markup = {**RUNS, "run-2": run("run-2", notes="<script>alert(1)</script>")}
    running.answers["trainer.v1.training_service:GetTrainingRun"] = lambda request: rpc.GetTrainingRunResponse(
        run=with_markup[request.id]
    )

    said = await asyncio.to_thread(terminal, "runs", "compare", "run-1", "run-2", "--html", str(tmp_path / "a.html"))

    page = (tmp_path / "a.html").read_text()
    assert said.code == 0, said.text
    assert page.count("<svg") == 3, "loss, held_out_loss and grad_norm"
    assert "helpdesk_gate against small@1" in page
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert 'src="' not in page


@pytest.mark.parametrize(
    ("form", "found"),
    [
        ("mlflow", "metrics/loss"),
        pytest.param("tensorboard", "events.out.tfevents", marks=pytest.mark.heavy),  # imports torch
    ],
)
async def test_runs_are_exported_to_a_folder(terminal: Terminal, tmp_path: Path, form: str, found: str) -> None:
    typed = ["runs", "export", "run-1", "run-2", "--format", form, "--to", str(tmp_path / "out"), "--json"]

    said = await asyncio.to_thread(terminal, *typed)
    again = await asyncio.to_thread(terminal, *typed)

    assert said.code == 0, said.text
    assert len(said.data["folders"]) == 2
    written = [str(path) for path in (tmp_path / "out").rglob("*")]
    assert all(any(folder in path and found in path for path in written) for folder in said.data["folders"])
    assert (again.code, "is there already" in again.text) == (1, True)


async def test_a_run_of_mlflow_is_imported_and_deleted(terminal: Terminal, running: Running, tmp_path: Path) -> None:
    home = write_mlflow(record_of(RUNS["run-1"]), tmp_path, project="acme")
    asked: list[rpc.ImportTrainingRunRequest] = []

    def recorded(request: rpc.ImportTrainingRunRequest) -> rpc.ImportTrainingRunResponse:
        asked.append(request)
        return rpc.ImportTrainingRunResponse(run=TrainingRun(id="run-3", source=request.source))

    running.answers["trainer.v1.training_service:ImportTrainingRun"] = recorded
    running.answers["trainer.v1.training_service:DeleteTrainingRun"] = lambda request: rpc.DeleteTrainingRunResponse(
        run=RUNS[request.id]
    )

    tried = await asyncio.to_thread(terminal, "runs", "import", str(home), "--dry-run")
    said = await asyncio.to_thread(terminal, "runs", "import", str(home), "--json")
    deleted = await asyncio.to_thread(terminal, "runs", "delete", "run-1")

    assert (tried.code, said.code, deleted.code) == (0, 0, 0), said.text
    assert [each.validate_only for each in asked] == [True, False]
    assert said.data["source"] == f"mlflow:{home.name}"
    assert asked[1].parameters["args.learning_rate"] == "0.001"
    assert "run-1 is deleted" in deleted.text


async def test_a_manifest_is_written_for_a_run_or_a_plan(terminal: Terminal, running: Running, tmp_path: Path) -> None:
    asked: list[rpc.RenderTrainingManifestRequest] = []

    def rendered(request: rpc.RenderTrainingManifestRequest) -> rpc.RenderTrainingManifestResponse:
        asked.append(request)
        return rpc.RenderTrainingManifestResponse(objects=[json.dumps(service), json.dumps(job)])

    service = {"kind": "Service", "metadata": {"namespace": "no"}}
    job = {"kind": "Job", "nodes": 2, "text": "[red]a line that is longer than any terminal[/red] " * 9}
    running.answers["trainer.v1.training_service:RenderTrainingManifest"] = rendered
    run, file = "1f0311b2-7f9b-4124-b57e-7e23126bac0f", tmp_path / "job.json"
    cluster = ("--nodes", "2", "--secret", "keys", "--volume-claim", "training", "--memory-mb-per-node", "512")

    said = await asyncio.to_thread(terminal, "runs", "manifest", "helpdesk_lora", *cluster)
    written = await asyncio.to_thread(terminal, "runs", "manifest", run, *cluster, "--to", str(file))
    data = await asyncio.to_thread(terminal, "runs", "manifest", run, *cluster, "--json")

    assert (said.code, written.code) == (0, 0), said.text
    assert said.text == file.read_text(encoding="utf-8")
    read_by_kubectl = yaml.safe_load(said.text)  # by version 1.1, in which a bare `no` is a boolean
    assert read_by_kubectl == {"apiVersion": "v1", "kind": "List", "items": [service, job]}
    assert f"kubectl apply -f {file}" in "".join(written.text.split("\n"))
    assert data.data == {"objects": [service, job]}
    assert [(each.plan, each.run) for each in asked] == [("helpdesk_lora", ""), ("", run), ("", run)]
    assert (asked[0].nodes, asked[0].memory_bytes_per_node, asked[0].secret) == (2, 2**29, "keys")
