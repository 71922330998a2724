import json
import sys
from pathlib import Path

import pytest

from tidemill_core.aggregate import ObjectRef
from tidemill_trainer.cluster.__main__ import main
from tidemill_trainer.cluster.pod import Pod, PodSettings
from tidemill_trainer.cluster.spec import ClusterSpec

REF = ObjectRef(bucket="datasets", key="acme/sft/1", size=1, sha256="0" * 64)
SPEC = ClusterSpec(
    name="tidemill-training-1",
    nodes=3,
    processes_per_node=2,
    base={"config.json": REF, "folder/model.safetensors": REF},
    examples=REF,
    job={"method": "sft"},
)


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pod:
    variables = {
        "TRAINER_S3_ENDPOINT": "127.0.0.1:9",
        "TRAINER_S3_ACCESS_KEY": "reader",
        "TRAINER_S3_SECRET_KEY": "hidden",
        "TIDEMILL_WORK_FOLDER": str(tmp_path / "work"),
        "TIDEMILL_SHARED_FOLDER": str(tmp_path / "shared"),
        "TIDEMILL_MAIN_ADDRESS": "training-0.training",
        "TIDEMILL_MAIN_PORT": "29400",
        "JOB_COMPLETION_INDEX": "2",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "training.json"
    file.write_text(SPEC.as_json(), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["cluster", str(file)])
    return Pod(spec=ClusterSpec.read(file), settings=PodSettings())


def test_what_is_rendered_is_what_a_pod_reads(pod: Pod) -> None:
    assert pod.spec == SPEC


def test_a_pod_becomes_the_agent_of_its_number(pod: Pod, tmp_path: Path) -> None:
    command = pod.command(tmp_path / "job.json")

    assert command[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert set(command[3:-3]) == {
        "--nnodes=3",
        "--nproc-per-node=2",
        "--node-rank=2",
        "--master-addr=training-0.training",
        "--master-port=29400",
        "--rdzv-id=tidemill-training-1",
        "--max-restarts=0",
    }
    assert list(command[-3:]) == ["-m", "tidemill_trainer.learning", str(tmp_path / "job.json")]


def test_the_processes_that_train_do_not_have_the_keys_of_the_store(pod: Pod) -> None:
    environment = pod.environment()

    assert "hidden" not in environment.values()
    assert not [name for name in environment if name.startswith("TRAINER_")]
    assert environment["HF_HUB_OFFLINE"] == "1"


def test_a_pod_that_is_started_after_the_end_has_nothing_to_do(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    pod.made.mkdir(parents=True)

    main()

    assert json.loads(capsys.readouterr().out) == {"event": "done"}


def test_a_pod_says_why_it_has_nothing_to_train_on(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main()

    reported = json.loads(capsys.readouterr().out)
    assert (ended.value.code, reported["event"], reported["reason"]) == (1, "failed", "DEPENDENCY_UNAVAILABLE")
    assert "hidden" not in str(reported)
    assert not pod.folder.exists()
