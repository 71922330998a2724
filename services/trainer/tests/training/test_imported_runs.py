"""Runs of other tools are records: bounded, deleted by people, and neither trained nor retried."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from services.trainer.tests.training.fakes import IMPORTED_QUOTA
from services.trainer.tests.training.test_grpc import ApiClient, served
from tidemill.trainer.v1 import training_pb2 as pb
from tidemill.trainer.v1 import training_service_pb2 as rpc
from tidemill_core.errors import AlreadyExists, Conflict, InvalidInput, NotFound, PreconditionFailed
from tidemill_trainer.training.domain.curves import MAX_POINTS
from tidemill_trainer.training.domain.imported_run import MAX_METRICS, MAX_PARAMETERS

MANY = [*range(MAX_POINTS + 1)]
LOSS = {"name": "loss", "steps": [1, 5], "values": [2.0, 1.0]}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ApiClient]:
    async with served(tmp_path) as client:
        yield client


def recorded(**changes: object) -> rpc.ImportTrainingRunRequest:
    facts: dict[str, Any] = {
        "source": "mlflow:0a8f",
        "parameters": {"lr": "0.001", "a.b$c": "x"},
        "metrics": [LOSS],
        "labels": {"team": "help"},
        "notes": "from before",
        "start_time": "2026-01-02T03:04:05Z",
        "finish_time": "2026-01-02T04:04:05Z",
        "status": "FINISHED",
    }
    return ParseDict(facts | changes, rpc.ImportTrainingRunRequest())


async def imported(api: ApiClient, **changes: object) -> pb.TrainingRun:
    return (await api.stub.ImportTrainingRun(recorded(**changes))).run


async def found(api: ApiClient, name: str) -> pb.TrainingRun:
    return (await api.stub.GetTrainingRun(rpc.GetTrainingRunRequest(id=name))).run


async def test_a_run_of_another_tool_is_shown_as_it_was_recorded(api: ApiClient) -> None:
    run = await imported(api)

    assert await found(api, run.id) == run
    assert (run.state, run.source, run.message) == (pb.TRAINING_RUN_STATE_IMPORTED, "mlflow:0a8f", "FINISHED")
    assert (dict(run.parameters), dict(run.labels)) == ({"lr": "0.001", "a.b$c": "x"}, {"team": "help"})
    assert (run.notes, run.progress.step, run.finish_time.seconds) == ("from before", 5, 1_767_326_645)
    assert list(run.progress.curves[0].values) == [2.0, 1.0]
    assert not run.HasField("recipe")
    assert not api.harness.runs.published
    assert not api.harness.enqueued


async def test_a_source_is_imported_once_and_a_repeated_request_has_one_effect(api: ApiClient) -> None:
    first = await imported(api, request_id="r1")

    assert await imported(api, request_id="r1") == first
    with pytest.raises(AlreadyExists):
        await imported(api, request_id="r2")


async def test_a_preview_stores_nothing(api: ApiClient) -> None:
    run = await imported(api, validate_only=True)

    with pytest.raises(NotFound):
        await found(api, run.id)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"source": ""}, "source"),
        ({"source": "a" * 201}, "source"),
        ({"status": "a" * 201}, "status"),
        ({"notes": "a" * 10_001}, "notes"),
        ({"labels": {"a" * 257: ""}}, f"labels[{'a' * 40}]"),
        ({"parameters": {str(number): "" for number in range(MAX_PARAMETERS + 1)}}, "parameters"),
        ({"parameters": {str(number): "1" * 1001 for number in range(MAX_PARAMETERS + 1)}}, "parameters"),
        ({"parameters": {"lr": "1" * 1001}}, "parameters[lr]"),
        ({"parameters": {"a" * 251: "1"}}, f"parameters[{'a' * 40}]"),
        ({"metrics": [LOSS | {"name": str(number)} for number in range(MAX_METRICS + 1)]}, "metrics"),
        ({"metrics": [LOSS, LOSS]}, "metrics"),
        ({"metrics": [LOSS | {"steps": [1]}]}, "metrics[loss]"),
        ({"metrics": [LOSS | {"steps": [5, 1]}]}, "metrics[loss]"),
        ({"metrics": [LOSS | {"steps": [-1, 1]}]}, "metrics[loss]"),
        ({"metrics": [LOSS | {"values": [1.0, "NaN"]}]}, "metrics[loss]"),
        ({"metrics": [LOSS | {"name": ""}]}, "metrics[]"),
        ({"metrics": [{"name": "a", "steps": [], "values": []}]}, "metrics[a]"),
        ({"metrics": [{"name": "a", "steps": MANY, "values": MANY}]}, "metrics[a]"),
        ({"finish_time": "2025-01-02T03:04:05Z"}, "finish_time"),
    ],
)
async def test_what_is_too_large_or_no_curve_is_refused_by_its_field(
    api: ApiClient, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        await imported(api, **changes)

    assert [violation.field for violation in refusal.value.violations] == [field]


async def test_a_project_imports_so_many_and_one_more_after_it_deleted_one(api: ApiClient) -> None:
    runs = [await imported(api, source=str(number)) for number in range(IMPORTED_QUOTA.limit)]

    with pytest.raises(PreconditionFailed, match="TRAINER_MAX_IMPORTED_RUNS"):
        await imported(api, source="one more")
    await api.stub.DeleteTrainingRun(rpc.DeleteTrainingRunRequest(id=runs[0].id))
    assert (await imported(api, source="one more")).source == "one more"


async def test_a_deleted_run_is_gone_and_may_be_imported_anew(api: ApiClient) -> None:
    run = await imported(api)

    with pytest.raises(Conflict):
        await api.stub.DeleteTrainingRun(rpc.DeleteTrainingRunRequest(id=run.id, etag="99"))
    await api.stub.DeleteTrainingRun(rpc.DeleteTrainingRunRequest(id=run.id))

    with pytest.raises(NotFound):
        await found(api, run.id)
    assert not (await api.stub.ListTrainingRuns(rpc.ListTrainingRunsRequest())).runs
    assert (await imported(api)).id == run.id


async def test_runs_that_were_trained_here_are_kept(api: ApiClient) -> None:
    await api.create()
    run = await api.start()

    with pytest.raises(PreconditionFailed, match="only imported runs"):
        await api.stub.DeleteTrainingRun(rpc.DeleteTrainingRunRequest(id=run.id))


async def test_an_imported_run_is_neither_cancelled_nor_retried(api: ApiClient) -> None:
    run = await imported(api)

    with pytest.raises(PreconditionFailed, match="it is imported"):
        await api.stub.CancelTrainingRun(rpc.CancelTrainingRunRequest(id=run.id))
    with pytest.raises(PreconditionFailed, match="imported"):
        await api.stub.RetryTrainingRun(rpc.RetryTrainingRunRequest(id=run.id))
