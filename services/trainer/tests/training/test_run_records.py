"""What a run records beside its result, and what people add to it, over a real gRPC server."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from services.trainer.tests.training.fakes import LINES, dataset_version, plan_settings, request
from services.trainer.tests.training.test_grpc import ApiClient, served
from tidemill.trainer.v1 import training_pb2 as pb
from tidemill.trainer.v1 import training_service_pb2 as rpc
from tidemill_core.application import ResourceKey
from tidemill_core.errors import Conflict, InvalidInput, NotFound
from tidemill_testkit.clocks import NOON
from tidemill_trainer.training.domain.plan import TrainingPlan
from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.domain.run_notes import MAX_NOTES_LENGTH
from tidemill_trainer.training.domain.trial import HeldOut, Trial


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ApiClient]:
    async with served(tmp_path) as client:
        yield client


async def described(api: ApiClient, run: pb.TrainingRun, *paths: str, validate_only: bool = False) -> pb.TrainingRun:
    asked = rpc.UpdateTrainingRunRequest(
        run=run, update_mask=FieldMask(paths=paths), validate_only=validate_only, request_id="r1"
    )
    return (await api.stub.UpdateTrainingRun(asked)).run


async def found(api: ApiClient, name: str) -> pb.TrainingRun:
    return (await api.stub.GetTrainingRun(rpc.GetTrainingRunRequest(id=name))).run


async def test_a_run_says_on_which_bytes_and_base_it_was_trained_and_how_its_numbers_went(api: ApiClient) -> None:
    api.harness.trainings.numbers = {"grad_norm": 0.5}
    await api.create()
    queued = await api.start()
    await api.harness.train(ResourceKey(project="acme", id=queued.id))

    run, [listed] = await found(api, queued.id), (await api.stub.ListTrainingRuns(rpc.ListTrainingRunsRequest())).runs

    assert (queued.base_digest, run.dataset_digest) == ("", dataset_version().train.sha256)
    base = await api.harness.registry.versions.get("acme", "smollm2@1")
    assert run.base_digest == base.digest != ""
    assert [(curve.name, list(curve.steps), list(curve.values)) for curve in run.progress.curves] == [
        ("grad_norm", [1, 2], [0.5, 0.5])
    ]
    assert (run.progress.peak_memory_bytes, run.progress.peak_device_memory_bytes) == (len(LINES), 7)
    assert run.progress.HasField("time")
    assert not listed.progress.curves
    assert listed.progress.losses == run.progress.losses


async def test_people_note_and_label_a_run(api: ApiClient) -> None:
    await api.create()
    run = await api.start()

    first = await described(api, pb.TrainingRun(id=run.id, notes="kept low", labels={"a": "1"}), "notes", "labels")
    second = (
        await api.stub.UpdateTrainingRun(
            rpc.UpdateTrainingRunRequest(run=pb.TrainingRun(id=run.id), update_mask=FieldMask(paths=["notes"]))
        )
    ).run

    assert (first.notes, dict(first.labels)) == ("kept low", {"a": "1"})
    assert (second.notes, dict(second.labels)) == ("", {"a": "1"})


async def test_a_repeated_description_has_one_effect_and_a_preview_none(api: ApiClient) -> None:
    await api.create()
    run = await api.start()
    given = pb.TrainingRun(id=run.id, notes="kept")

    preview = await described(api, given, "notes", validate_only=True)
    assert (preview.notes, (await found(api, run.id)).notes) == ("kept", "")

    assert await described(api, given, "notes") == await described(api, given, "notes")


async def test_a_description_of_another_revision_is_refused(api: ApiClient) -> None:
    await api.create()
    run = await api.start()

    with pytest.raises(Conflict, match="it changed since etag 99"):
        await described(api, pb.TrainingRun(id=run.id, notes="late", etag="99"), "notes")


@pytest.mark.parametrize(
    ("given", "path", "field"),
    [
        (pb.TrainingRun(notes="a" * (MAX_NOTES_LENGTH + 1)), "notes", "run.notes"),
        (pb.TrainingRun(labels={str(number): "" for number in range(33)}), "labels", "run.labels"),
        (pb.TrainingRun(plan="other"), "plan", "update_mask"),
    ],
)
async def test_notes_and_labels_beyond_their_limits_are_refused_by_their_field(
    api: ApiClient, given: pb.TrainingRun, path: str, field: str
) -> None:
    await api.create()
    given.id = (await api.start()).id

    with pytest.raises(InvalidInput) as refusal:
        await described(api, given, path)

    assert [violation.field for violation in refusal.value.violations] == [field]


async def test_a_run_that_does_not_exist_cannot_be_described(api: ApiClient) -> None:
    with pytest.raises(NotFound):
        await described(api, pb.TrainingRun(id="other", notes="a"), "notes")


async def test_trials_of_sweeps_are_left_out_of_a_list_that_asks_for_runs_alone(api: ApiClient) -> None:
    plan = TrainingPlan(id="lora", project="acme", settings=plan_settings())
    run = TrainingRun.queue(run="plain", plan=plan, dataset=dataset_version(), base="smollm2@1", now=NOON)
    trial = Trial(number=1, held_out=HeldOut(share=0.2, seed=0, measurements=2))
    for each in (
        run,
        replace(run, id="trial", sweep="rates", trial=trial, pending=[]),
        replace(run, id="winner", sweep="rates", pending=[]),
    ):
        await api.harness.runs.add(each, request=request())

    async def listed(**given: object) -> list[str]:
        page = await api.stub.ListTrainingRuns(rpc.ListTrainingRunsRequest(**given))  # type: ignore[arg-type] # each test gives what the field takes
        return [each.id for each in page.runs]

    assert await listed() == ["plain", "trial", "winner"]
    assert await listed(exclude_trials=True) == ["plain", "winner"]
    assert await listed(exclude_trials=True, plan="lora") == ["plain", "winner"]
    assert await listed(filter="sweep = rates") == ["trial", "winner"]
    assert await listed(filter="sweep = rates", exclude_trials=True) == ["winner"]
