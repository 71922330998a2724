"""The folder of a run as MLflow's file store reads it: one file for each name."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from libs.cli.tests.commands.answers import evaluation
from libs.cli.tests.commands.run_answers import run
from tidemill.evaluator.v1.evaluation_pb2 import EVALUATION_STATE_COMPLETED, Comparison
from tidemill_cli.run_history.mlflow_folder import write_mlflow
from tidemill_cli.run_history.records import record_of
from tidemill_core.errors import InvalidInput

UUID = "0a8f1c2e-5b1d-5f6a-9c3e-1b2a3c4d5e6f"


def test_a_run_is_a_folder_of_its_plans_experiment(tmp_path: Path) -> None:
    home = write_mlflow(record_of(run(UUID)), tmp_path, project="acme")

    meta, experiment = (YAML(typ="safe").load(folder / "meta.yaml") for folder in (home, home.parent))
    assert (home.name, home.parent.parent) == (UUID.replace("-", ""), tmp_path)
    assert (experiment["name"], experiment["experiment_id"]) == ("helpdesk_lora", home.parent.name)
    assert (meta["run_id"], meta["experiment_id"], meta["status"]) == (home.name, home.parent.name, 3)
    assert (meta["start_time"], meta["end_time"]) == (1_790_000_000_000, 1_790_000_090_000)
    assert meta["artifact_uri"] == (home / "artifacts").as_uri()
    assert [each.name for each in home.parent.iterdir() if each.name.startswith(".")] == []


def test_settings_and_data_are_parameters(tmp_path: Path) -> None:
    home = write_mlflow(record_of(run("a")), tmp_path, project="acme")

    found = {path.name: path.read_text() for path in (home / "params").iterdir()}
    assert (found["args.learning_rate"], found["lora.r"], found["method"]) == ("0.001", "8", "sft")
    assert (found["data.dataset_version"], found["data.dataset_digest"]) == ("helpdesk_sft@2", "a" * 64)


def test_curves_and_figures_are_metrics_with_their_steps(tmp_path: Path) -> None:
    home = write_mlflow(record_of(run("a")), tmp_path, project="acme")

    assert (home / "metrics/loss").read_text() == "1790000090000 2.5 1\n1790000090000 1.25 2\n"
    assert (home / "metrics/grad_norm").read_text() == "1790000090000 0.5 1\n1790000090000 0.25 2\n"
    assert (home / "metrics/computing_s").read_text() == "1790000090000 90.0 2\n"


def test_environment_labels_notes_and_verdicts_are_tags(tmp_path: Path) -> None:
    found = record_of(run("a"), evaluations=[evaluation(EVALUATION_STATE_COMPLETED)])

    home = write_mlflow(found, tmp_path, project="acme")

    tags = {path.name: path.read_text() for path in (home / "tags").iterdir()}
    assert (
        tags.items()
        >= {
            "mlflow.note.content": "kept low",
            "mlflow.runName": "a",
            "environment.trl": "1.16.0",
            "team": "help",
            "tidemill.model_version": "helpdesk_lora@1",
            "tidemill.verdict.helpdesk_gate": "failed",
        }.items()
    )
    measured = home / "metrics/evaluation/helpdesk_gate/suite:truth_1/rouge_l"
    assert (measured / "difference").read_text() == "1790000090000 -0.1 2\n"


@pytest.mark.parametrize(("metric", "cases"), [("exposure", 20), ("weights_bytes", 0)])
@pytest.mark.parametrize("live", [0.0, 2.0])
def test_what_is_not_known_of_a_live_model_has_no_difference(
    tmp_path: Path, metric: str, cases: int, live: float
) -> None:
    evaluated = evaluation(EVALUATION_STATE_COMPLETED)
    evaluated.comparisons[0].MergeFrom(Comparison(metric=metric, cases=cases, candidate=1.5, difference=live - 1.5))
    evaluated.comparisons[0].cases, evaluated.comparisons[0].baseline = cases, live

    home = write_mlflow(record_of(run("a"), evaluations=[evaluated]), tmp_path, project="acme")

    measured = home / "metrics/evaluation/helpdesk_gate/suite:truth_1" / metric
    assert (measured / "candidate").exists()
    assert (measured / "difference").exists() == bool(live)


def test_two_projects_with_a_plan_of_the_same_name_are_two_experiments(tmp_path: Path) -> None:
    first, second = (write_mlflow(record_of(run("a")), tmp_path, project=project) for project in ("acme", "other"))

    assert first.parent != second.parent
    third = write_mlflow(record_of(run("b")), tmp_path, project="acme")
    assert third.parent == first.parent


def test_a_run_that_is_there_already_is_left_as_it_is(tmp_path: Path) -> None:
    home = write_mlflow(record_of(run("a")), tmp_path, project="acme")
    (home / "tags/mine").write_text("kept")

    with pytest.raises(InvalidInput, match="is there already"):
        write_mlflow(record_of(run("a")), tmp_path, project="acme")
    assert (home / "tags/mine").read_text() == "kept"


@pytest.mark.parametrize(
    ("label", "path"),
    [("../../out", "out"), ("a@b", "a_b"), ("/etc/x", "etc/x"), ("..", ""), ("team/x", "team_x"), ("é", "_")],
)
def test_names_stay_within_the_folder_and_within_what_mlflow_takes(tmp_path: Path, label: str, path: str) -> None:
    folder = tmp_path / "store"
    home = write_mlflow(record_of(run("a", labels={"team": "help", label: "said"})), folder, project="acme")

    found = [str(each.relative_to(home / "tags")) for each in (home / "tags").rglob("*") if each.is_file()]
    assert [each for each in found if (home / "tags" / each).read_text() == "said"] == ([path] if path else [])
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("said", "status"), [("RUNNING", 1), ("SCHEDULED", 2), ("FINISHED", 3), ("FAILED", 4), ("KILLED", 5), ("", 3)]
)
def test_an_imported_run_has_the_status_that_it_had(tmp_path: Path, said: str, status: int) -> None:
    imported = run("a", source="mlflow:a", state="TRAINING_RUN_STATE_IMPORTED", message=said)
    home = write_mlflow(record_of(imported), tmp_path, project="acme")

    assert YAML(typ="safe").load(home / "meta.yaml")["status"] == status


@pytest.mark.parametrize(("state", "status"), [("QUEUED", 2), ("RUNNING", 1), ("FAILED", 4), ("CANCELLED", 5)])
def test_the_state_is_one_of_mlflows(tmp_path: Path, state: str, status: int) -> None:
    home = write_mlflow(record_of(run("a", state=f"TRAINING_RUN_STATE_{state}")), tmp_path, project="acme")

    assert YAML(typ="safe").load(home / "meta.yaml")["status"] == status
