"""Two runs that differ, for what compares and exports them."""

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict
from google.protobuf.timestamp_pb2 import Timestamp

from tidemill.trainer.v1 import training_pb2 as pb
from tidemill.trainer.v1 import training_service_pb2 as rpc


def run(name: str, *, rate: float = 1e-3, **changes: Any) -> pb.TrainingRun:  # noqa: ANN401 - of any field
    """Return a run that has succeeded."""
    facts: dict[str, Any] = {
        "id": name,
        "etag": "7",
        "plan": "helpdesk_lora",
        "dataset_version": "helpdesk_sft@2",
        "dataset_digest": "a" * 64,
        "base": "small@1",
        "base_digest": "b" * 64,
        "state": "TRAINING_RUN_STATE_SUCCEEDED",
        "model_version": "helpdesk_lora@1",
        "labels": {"team": "help"},
        "notes": "kept low",
        "versions": {"trl": "1.16.0", "dtype": "float32"},
        "recipe": {"method": "sft", "lora": {"r": 8, "use_rslora": False}, "args": {"learning_rate": rate, "seed": 42}},
        "examples": {"offered": 12, "fitted": 10},
    }
    found = ParseDict(facts | changes, pb.TrainingRun())
    progress = pb.TrainingProgress(
        step=2,
        steps=2,
        loss=1.25,
        losses=[pb.LossPoint(step=1, loss=2.5), pb.LossPoint(step=2, loss=1.25)],
        held_out_losses=[pb.LossPoint(step=2, loss=1.5)],
        curves=[pb.TrainingCurve(name="grad_norm", steps=[1, 2], values=[0.5, 0.25])],
        time=Duration(seconds=90),
        peak_memory_bytes=500_000_000,
    )
    found.progress.CopyFrom(progress)
    found.start_time.CopyFrom(Timestamp(seconds=1_790_000_000))
    found.finish_time.CopyFrom(Timestamp(seconds=1_790_000_090))
    return found


RUNS = {
    "run-1": run("run-1"),
    "run-2": run("run-2", rate=1e-2, dataset_version="helpdesk_sft@3", dataset_digest="c" * 64, model_version=""),
}

RUN_ANSWERS: Mapping[str, Callable[[Any], Any]] = {
    "trainer.v1.training_service:RenderTrainingManifest": lambda _: rpc.RenderTrainingManifestResponse(
        objects=['{"kind": "Service"}', '{"kind": "Job"}']
    ),
}
