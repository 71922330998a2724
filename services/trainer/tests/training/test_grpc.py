import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct

from services.trainer.tests.registry.test_grpc import settings
from services.trainer.tests.training.fakes import Harness, dataset_version
from tidemill.trainer.v1 import training_pb2 as pb
from tidemill.trainer.v1 import training_service_pb2 as rpc
from tidemill.trainer.v1.training_service_pb2_grpc import TrainingServiceStub, add_TrainingServiceServicer_to_server
from tidemill_core.application import ResourceKey
from tidemill_core.errors import Conflict, InvalidInput, NotFound, PreconditionFailed, Unauthenticated
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer
from tidemill_trainer.training.grpc import GrpcTrainingService


@dataclass(kw_only=True)
class ApiClient:
    """A real gRPC server on a free port, and a stub for project acme."""

    harness: Harness
    port: int
    stub: TrainingServiceStub

    async def create(self, **changes: object) -> pb.TrainingPlan:
        return (await self.stub.CreateTrainingPlan(rpc.CreateTrainingPlanRequest(plan=plan(**changes)))).plan

    async def start(self) -> pb.TrainingRun:
        return (await self.stub.StartTrainingRun(rpc.StartTrainingRunRequest(plan="lora"))).run


def plan(**changes: object) -> pb.TrainingPlan:
    message = pb.TrainingPlan(
        id="lora",
        dataset="sft",
        base="smollm2",
        method="sft",
        lora=ParseDict({"r": 4, "target_modules": ["q_proj"]}, Struct()),
        args=ParseDict({"max_steps": 4, "learning_rate": 1e-3}, Struct()),
        limits=pb.TrainingLimits(time=Duration(seconds=90)),
        labels={"team": "support"},
    )
    return ParseDict(changes, message)


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[ApiClient]:
    """Serve a harness with a base and a dataset version."""
    harness = await Harness(folder=tmp_path).with_base()
    harness.datasets.publish(dataset_version())
    servicer = GrpcTrainingService(harness.plan_crud, harness.run_crud, harness.import_run, harness.render_manifest)
    server = DirectServer(
        settings(tmp_path),
        [(add_TrainingServiceServicer_to_server, servicer)],
        access=access_of(),
        audit=RecordedCalls(),
    )
    await server.start()
    channel = admin_channel(f"127.0.0.1:{server.port}", project="acme")
    yield ApiClient(harness=harness, port=server.port, stub=TrainingServiceStub(channel))
    await channel.close()
    await server.stop(1.0)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ApiClient]:
    async with served(tmp_path) as client:
        yield client


async def test_a_plan_is_shown_as_it_was_written(api: ApiClient) -> None:
    created = await api.create()

    found = (await api.stub.GetTrainingPlan(rpc.GetTrainingPlanRequest(id="lora"))).plan
    listed = (await api.stub.ListTrainingPlans(rpc.ListTrainingPlansRequest())).plans

    assert found == created == listed[0]
    assert MessageToDict(found.lora) == {"r": 4.0, "target_modules": ["q_proj"]}
    assert (found.limits.time.seconds, found.labels["team"], found.etag) == (90, "support", "1")


async def test_what_a_plan_searches_is_shown_as_it_was_written_with_its_defaults(api: ApiClient) -> None:
    space = [
        {"setting": "args.learning_rate", "range": {"low": 1e-5, "high": 1e-2, "log": True}},
        {"setting": "lora.target_modules", "choices": ["all-linear", ["q_proj"]]},
    ]

    created = await api.create(sweep={"space": space, "max_trials": 4, "budget": {"time": "90s"}})

    found = MessageToDict((await api.stub.GetTrainingPlan(rpc.GetTrainingPlanRequest(id="lora"))).plan)["sweep"]
    assert created.sweep.max_trials == 4
    assert found["space"] == space
    assert (found["heldOut"], found["measurements"], found["pruning"]["keepPercent"]) == (0.2, 5, 50.0)
    assert found["budget"]["time"] == "90s"


async def test_plans_of_a_dataset_are_listed_from_the_newest(api: ApiClient) -> None:
    for plan, dataset in (("first", "sft"), ("other", "faq"), ("second", "sft")):
        await api.harness.plan(plan, dataset=dataset)

    request = rpc.ListTrainingPlansRequest(filter='dataset = "sft"', order_by="create_time desc")

    assert [plan.id for plan in (await api.stub.ListTrainingPlans(request)).plans] == ["second", "first"]


async def test_a_run_is_shown_with_its_whole_recipe_and_its_losses(api: ApiClient) -> None:
    await api.create()
    queued = await api.start()
    await api.harness.train(ResourceKey(project="acme", id=queued.id))

    run = (await api.stub.GetTrainingRun(rpc.GetTrainingRunRequest(id=queued.id))).run
    listed = (await api.stub.ListTrainingRuns(rpc.ListTrainingRunsRequest(plan="lora"))).runs

    assert queued.state == pb.TRAINING_RUN_STATE_QUEUED
    assert run.state == pb.TRAINING_RUN_STATE_SUCCEEDED
    assert [run] == list(listed)
    assert (run.plan, run.dataset_version, run.base, run.model_version) == ("lora", "sft@1", "smollm2@1", "lora@1")
    recipe = MessageToDict(run.recipe)
    assert (recipe["method"], recipe["lora"]["target_modules"], recipe["args"]["seed"]) == ("sft", ["q_proj"], 42.0)
    assert (run.progress.step, run.progress.steps, run.progress.loss) == (2, 2, 1.0)
    assert [(point.step, point.loss) for point in run.progress.losses] == [(1, 2.0), (2, 1.0)]
    assert not queued.progress.HasField("loss")
    assert run.versions["torch"] == "2.13.0"
    assert run.start_time.seconds
    assert run.finish_time.seconds
    assert not (await api.stub.ListTrainingRuns(rpc.ListTrainingRunsRequest(plan="other"))).runs
    filtered = await api.stub.ListTrainingRuns(
        rpc.ListTrainingRunsRequest(filter="plan = lora", order_by="create_time desc")
    )
    assert list(filtered.runs) == listed[::-1]


async def test_a_wrong_setting_is_answered_with_its_field(api: ApiClient) -> None:
    with pytest.raises(InvalidInput) as refusal:
        await api.create(args={"learning_rate": 7})

    assert [violation.field for violation in refusal.value.violations] == ["plan.args.learning_rate"]


@pytest.mark.parametrize("field", ["lora", "args"])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
async def test_a_setting_that_is_no_finite_number_is_answered_with_its_field(
    api: ApiClient, field: str, number: float
) -> None:
    message = plan()
    getattr(message, field).update({"learning_rate": number})

    with pytest.raises(InvalidInput, match="send finite numbers") as refusal:
        await api.stub.CreateTrainingPlan(rpc.CreateTrainingPlanRequest(plan=message))

    assert [violation.field for violation in refusal.value.violations] == [f"plan.{field}"]


@pytest.mark.parametrize("seconds", [10**15, -(10**15), 0])
async def test_a_time_that_no_run_may_take_is_answered_with_its_field(api: ApiClient, seconds: int) -> None:
    message = plan()
    message.limits.time.seconds = seconds

    with pytest.raises(InvalidInput, match="it must be") as refusal:
        await api.stub.CreateTrainingPlan(rpc.CreateTrainingPlanRequest(plan=message))

    assert [violation.field for violation in refusal.value.violations] == ["plan.limits.time"]


async def test_a_plan_has_one_process_unless_it_says_more(api: ApiClient) -> None:
    one = await api.create()
    changed = await api.stub.UpdateTrainingPlan(
        rpc.UpdateTrainingPlanRequest(plan=plan(processes=2), update_mask=FieldMask(paths=["processes"]))
    )

    assert (one.processes, changed.plan.processes) == (1, 2)
    assert (await api.start()).processes == 2


async def test_a_run_has_its_plans_priority_unless_it_is_started_with_another(api: ApiClient) -> None:
    await api.create(priority=2)
    first = await api.start()
    other = (await api.stub.StartTrainingRun(rpc.StartTrainingRunRequest(plan="lora", priority=0))).run

    assert (first.priority, other.priority) == (2, 0)
    with pytest.raises(InvalidInput, match="is 11; it must be -10 to 10"):
        await api.stub.StartTrainingRun(rpc.StartTrainingRunRequest(plan="lora", priority=11))
    with pytest.raises(InvalidInput, match="is -11; it must be -10 to 10"):
        await api.stub.CreateTrainingPlan(rpc.CreateTrainingPlanRequest(plan=plan(priority=-11)))


async def test_a_plan_is_updated_by_its_mask_and_its_etag(api: ApiClient) -> None:
    created = await api.create()
    mask = FieldMask(paths=["args", "paused"])
    change = plan(args={"max_steps": 9}, paused=True, etag=created.etag, base="nowhere")
    changed = (await api.stub.UpdateTrainingPlan(rpc.UpdateTrainingPlanRequest(plan=change, update_mask=mask))).plan

    assert (MessageToDict(changed.args)["max_steps"], changed.paused, changed.base) == (9.0, True, "smollm2")
    with pytest.raises(Conflict):
        await api.stub.UpdateTrainingPlan(rpc.UpdateTrainingPlanRequest(plan=change, update_mask=mask))
    with pytest.raises(InvalidInput, match="update_mask"):
        await api.stub.UpdateTrainingPlan(
            rpc.UpdateTrainingPlanRequest(plan=change, update_mask=FieldMask(paths=["id"]))
        )


async def test_a_run_is_cancelled_and_retried(api: ApiClient) -> None:
    await api.create()
    queued = await api.start()

    cancelled = (await api.stub.CancelTrainingRun(rpc.CancelTrainingRunRequest(id=queued.id))).run
    retried = (await api.stub.RetryTrainingRun(rpc.RetryTrainingRunRequest(id=queued.id))).run

    assert (cancelled.state, cancelled.reason) == (pb.TRAINING_RUN_STATE_CANCELLED, "CANCELLED")
    assert (retried.state, retried.reason) == (pb.TRAINING_RUN_STATE_QUEUED, "")
    with pytest.raises(PreconditionFailed):
        await api.stub.RetryTrainingRun(rpc.RetryTrainingRunRequest(id=queued.id))


async def test_a_deleted_plan_is_gone(api: ApiClient) -> None:
    await api.create()

    await api.stub.DeleteTrainingPlan(rpc.DeleteTrainingPlanRequest(id="lora"))

    with pytest.raises(NotFound):
        await api.stub.GetTrainingPlan(rpc.GetTrainingPlanRequest(id="lora"))


async def test_another_project_sees_nothing_of_it(api: ApiClient) -> None:
    await api.create()
    queued = await api.start()
    async with admin_channel(f"127.0.0.1:{api.port}", project="other") as channel:
        stub = TrainingServiceStub(channel)

        with pytest.raises(NotFound):
            await stub.GetTrainingRun(rpc.GetTrainingRunRequest(id=queued.id))
        assert not (await stub.ListTrainingRuns(rpc.ListTrainingRunsRequest())).runs


async def test_a_call_without_a_project_is_refused(api: ApiClient) -> None:
    async with admin_channel(f"127.0.0.1:{api.port}", project="No project") as channel:
        with pytest.raises(Unauthenticated):
            await TrainingServiceStub(channel).ListTrainingPlans(rpc.ListTrainingPlansRequest())
