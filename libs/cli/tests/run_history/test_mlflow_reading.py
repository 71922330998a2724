"""Runs as MLflow writes them are read, and what is no such run is refused by the name of its file."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.cli.tests.commands.run_answers import run
from tidemill.trainer.v1.training_service_pb2 import ImportTrainingRunRequest
from tidemill_cli.run_history import mlflow_reading
from tidemill_cli.run_history.mlflow_folder import write_mlflow
from tidemill_cli.run_history.mlflow_reading import MAX_POINTS
from tidemill_cli.run_history.records import record_of
from tidemill_core.errors import InvalidInput

META = """artifact_uri: file:///somewhere/artifacts
end_time: 1790000090000
experiment_id: '1'
lifecycle_stage: active
run_id: 0a8f1c2e5b1d5f6a9c3e1b2a3c4d5e6f
run_name: wistful-ant-659
start_time: 1790000000000
status: 3
tags: []
user_id: ada
"""

ALIASES = "a0: &a0 [1]\n" + "".join(
    f"a{place}: &a{place} [{', '.join([f'*a{place - 1}'] * 10)}]\n" for place in range(1, 10)
)


def read_mlflow(folder: Path, left_out: list[str] | None = None) -> ImportTrainingRunRequest:
    return mlflow_reading.read_mlflow(folder, say=([] if left_out is None else left_out).append)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    texts = {
        "meta.yaml": META,
        "params/lr": "0.001",
        "params/model/name": "small",
        "metrics/loss": "1790000000000 2.5 1\n1790000000001 nan 2\n1790000000002 1.25 3\n1790000000003 1.5 3\n",
        "metrics/accuracy": "1790000000000 0.5\n",
        "tags/team": "help",
        "tags/long": "a" * 300,
        "tags/mlflow.user": "ada",
        "tags/mlflow.note.content": "kept low",
        "artifacts/model.pkl": "never read",
    }
    for name, text in texts.items():
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "run"


def test_a_run_is_read_with_its_parameters_metrics_tags_and_notes(recorded: Path) -> None:
    found = read_mlflow(recorded)

    assert found.source == "mlflow:0a8f1c2e5b1d5f6a9c3e1b2a3c4d5e6f"
    assert dict(found.parameters) == {"lr": "0.001", "model/name": "small", "tag.long": "a" * 300}
    assert {curve.name: list(zip(curve.steps, curve.values, strict=True)) for curve in found.metrics} == {
        "accuracy": [(0, 0.5)],
        "loss": [(1, 2.5), (3, 1.5)],
    }
    assert dict(found.labels) == {"team": "help", "run_name": "wistful-ant-659"}
    assert (found.notes, found.status) == ("kept low", "FINISHED")
    assert (found.start_time.seconds, found.finish_time.seconds) == (1_790_000_000, 1_790_000_090)


def test_labels_are_as_many_as_there_may_be_and_further_tags_are_parameters(recorded: Path) -> None:
    for number in range(40):
        (recorded / f"tags/n{number:02}").write_text(str(number))

    found = read_mlflow(recorded)

    assert len(found.labels) == 32
    assert found.parameters["tag.n39"] == "39"


@pytest.mark.parametrize("text", ["1 nan 1\n1 inf 2\n", ""])
def test_a_metric_without_a_finite_number_is_left_out_and_the_others_are_imported(recorded: Path, text: str) -> None:
    (recorded / "metrics/loss").write_text(text)
    left_out = list[str]()

    assert [curve.name for curve in read_mlflow(recorded, left_out).metrics] == ["accuracy"]
    assert left_out == ["loss is left out: it has no finite number"]


def test_values_that_are_too_long_are_left_out_and_named(recorded: Path) -> None:
    for name in ("params/prompt", "tags/long"):
        (recorded / name).write_text("a" * 1001)
    left_out = list[str]()

    assert dict(read_mlflow(recorded, left_out).parameters) == {"lr": "0.001", "model/name": "small"}
    assert [each.partition(":")[0] for each in left_out] == ["prompt is left out", "tag.long is left out"]


def test_a_tag_with_the_name_of_something_else_is_not_lost(recorded: Path) -> None:
    for name, text in {"tags/run_name": "mine", "params/tag.long": "kept"}.items():
        (recorded / name).write_text(text)
    left_out = list[str]()

    found = read_mlflow(recorded, left_out)

    assert (found.labels["run_name"], found.parameters["tag.run_name"]) == ("wistful-ant-659", "mine")
    assert (found.parameters["tag.long"], left_out) == (
        "kept",
        ["tag.long is left out as a tag: a parameter has its name"],
    )


def test_a_long_metric_is_thinned_over_its_whole_length(recorded: Path) -> None:
    (recorded / "metrics/loss").write_text("".join(f"1 {step}.0 {step}\n" for step in range(1, 5000)))

    (curve,) = [each for each in read_mlflow(recorded).metrics if each.name == "loss"]

    assert MAX_POINTS / 4 < len(curve.steps) <= MAX_POINTS
    assert (curve.steps[-1], list(curve.steps)) == (4999, [int(value) for value in curve.values])


@pytest.mark.parametrize(
    "steps", [range(49, 15_049, 50), range(1, 30_001, 100), range(257), range(1_000_003, 1_000_513)]
)
def test_a_metric_is_thinned_evenly_whatever_its_steps_are(recorded: Path, steps: range) -> None:
    (recorded / "metrics/loss").write_text("".join(f"1 {step}.0 {step}\n" for step in steps))

    (curve,) = [each for each in read_mlflow(recorded).metrics if each.name == "loss"]

    assert MAX_POINTS / 4 < len(curve.steps) <= MAX_POINTS
    assert (curve.steps[0], curve.steps[-1]) == (steps[0], steps[-1])
    gaps = {later - earlier for earlier, later in zip(curve.steps[:-2], curve.steps[1:-1], strict=True)}
    assert len(gaps) == 1


def test_what_was_exported_is_imported_with_the_same_settings_data_and_curves(tmp_path: Path) -> None:
    before = record_of(run("a"))
    read = read_mlflow(write_mlflow(before, tmp_path, project="acme"))

    after = record_of(
        run("b", source=read.source, parameters=dict(read.parameters), labels=dict(read.labels), notes=read.notes)
    )

    assert (dict(after.settings), dict(after.data)) == (dict(before.settings), dict(before.data))
    assert {curve.name: list(zip(curve.steps, curve.values, strict=True)) for curve in read.metrics}.items() >= {
        name: list(points) for name, points in before.curves.items()
    }.items()
    assert read.notes == before.notes


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("meta.yaml", "run_id: [", "is not YAML"),
        ("meta.yaml", "- 1", "names no run_id"),
        ("meta.yaml", "status: 3", "names no run_id"),
        ("meta.yaml", "run_id: !!python/object/apply:os.system [ls]", "is not as MLflow writes it"),
        ("meta.yaml", META + ALIASES + "x: *a9\n", "is not as MLflow writes it"),
        ("meta.yaml", META + "x: " + "[" * 20_000, "is not as MLflow writes it"),
        ("meta.yaml", META.replace("1790000000000", "2023-13-45"), "is not YAML"),
        ("meta.yaml", META + "x: 2023-02-30 10:00:00", "is not YAML"),
        ("meta.yaml", META + "x: !!int abc", "is not YAML"),
        ("meta.yaml", META + "x: !!float abc", "is not YAML"),
        ("meta.yaml", META + "x: !!bool abc", "is not YAML"),
        ("meta.yaml", META + "x: " + "9" * 5000, "is not YAML"),
        ("meta.yaml", META.replace("0a8f1c2e5b1d5f6a9c3e1b2a3c4d5e6f", '"\\uD800"'), "names no run_id"),
        ("meta.yaml", META + "start_time: yesterday", "is not YAML"),
        ("meta.yaml", META.replace("1790000000000", "soon"), "start_time is no time in milliseconds"),
        ("metrics/loss", "1 2 3 4\n", "line 1, is not `time value step`"),
        ("metrics/loss", "1 2.5 1\n1 low 2\n", "line 2, is not"),
        ("metrics/loss", "1 2.5 -1\n", "has step -1"),
        ("metrics/loss", f"1 2.5 {2**31}\n", "steps are 0 to"),
        ("params/lr", "a" * (64 * 1024 + 1), "the limit is 65536"),
    ],
)
def test_what_is_not_as_mlflow_writes_it_is_refused_by_its_name(recorded: Path, file: str, text: str, why: str) -> None:
    (recorded / file).write_text(text)

    with pytest.raises(InvalidInput, match=why) as refusal:
        read_mlflow(recorded)
    assert str(recorded / file) in refusal.value.message


def test_what_is_no_text_is_refused(recorded: Path) -> None:
    (recorded / "params/lr").write_bytes(b"\xff\xfe")

    with pytest.raises(InvalidInput, match="lr is not UTF-8"):
        read_mlflow(recorded)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="name the folder of one run"):
        read_mlflow(tmp_path)


def test_a_link_is_not_followed(recorded: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    (recorded / "params/stolen").symlink_to(tmp_path / "secret")

    with pytest.raises(InvalidInput, match="stolen is a link"):
        read_mlflow(recorded)


@pytest.mark.parametrize("name", ["meta.yaml", "params", "metrics", "tags", "params/model"])
def test_what_is_a_link_itself_is_not_followed(recorded: Path, tmp_path: Path, name: str) -> None:
    (recorded / name).rename(tmp_path / "elsewhere")
    (recorded / name).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(InvalidInput, match=f"{name} is a link"):
        read_mlflow(recorded)


def test_a_file_in_place_of_a_folder_is_refused(recorded: Path) -> None:
    (recorded / "tags").rename(recorded / "kept")
    (recorded / "tags").write_text("team: help")

    with pytest.raises(InvalidInput, match="tags cannot be read"):
        read_mlflow(recorded)


def test_a_folder_that_cannot_be_read_is_refused(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "model":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", forbidden)

    with pytest.raises(InvalidInput, match="params/model cannot be read: Permission denied"):
        read_mlflow(recorded)


@pytest.mark.parametrize("said", ['"\\uD800"', "*a", "[a]", "5", "2023-01-01"])
def test_a_name_that_is_no_text_is_left_out(recorded: Path, said: str) -> None:
    (recorded / "meta.yaml").write_text("x: &a [1, 2]\n" + META.replace("wistful-ant-659", said))

    assert "run_name" not in read_mlflow(recorded).labels


def test_a_file_whose_name_is_no_text_is_refused(recorded: Path) -> None:
    Path(os.fsdecode(os.fsencode(recorded / "params") + b"/\xff")).write_text("1")

    with pytest.raises(InvalidInput, match="whose name is not UTF-8"):
        read_mlflow(recorded)


def test_too_many_files_are_refused(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_reading, "MAX_FILES", 3)

    with pytest.raises(InvalidInput, match="more than 3 files"):
        read_mlflow(recorded)
