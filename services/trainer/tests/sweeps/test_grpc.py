import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict, ParseDict

from services.trainer.tests.registry.test_grpc import settings
from services.trainer.tests.sweeps.fakes import Sweeping
from tidemill.trainer.v1 import sweep_pb2 as pb
from tidemill.trainer.v1 import sweep_service_pb2 as rpc
from tidemill.trainer.v1.sweep_service_pb2_grpc import SweepServiceStub, add_SweepServiceServicer_to_server
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer
from tidemill_testkit.mapping import unsent
from tidemill_trainer.sweeps.domain.sweep import Sweep, SweepTrial
from tidemill_trainer.sweeps.grpc import GrpcSweepService

SPACE = [
    {"setting": "args.learning_rate", "range": {"low": 1e-4, "high": 1e-2, "log": True}},
    {"setting": "lora.r", "choices": [4, 8]},
    {"setting": "lora.target_modules", "choices": ["all-linear", ["q_proj", "v_proj"]]},
]


@pytest.fixture
async def sweeping(tmp_path: Path) -> Sweeping:
    sweeping = await Sweeping(folder=tmp_path).ready()
    sweeping.search.points = [(1e-3, 0.0, 1.0), (5e-3, 1.0, 0.0)]
    return sweeping


@pytest.fixture
async def stub(sweeping: Sweeping, tmp_path: Path) -> AsyncIterator[SweepServiceStub]:
    server = DirectServer(
        settings(tmp_path),
        [(add_SweepServiceServicer_to_server, GrpcSweepService(sweeping.crud))],
        access=access_of(),
        audit=RecordedCalls(),
    )
    await server.start()
    channel = admin_channel(f"127.0.0.1:{server.port}", project="acme")
    yield SweepServiceStub(channel)
    await channel.close()
    await server.stop(1.0)


def sweep(**changes: object) -> pb.Sweep:
    message = pb.Sweep(id="rates", plan="lora", max_trials=2, budget=pb.SweepBudget(time=Duration(seconds=90)))
    return ParseDict({"space": SPACE} | changes, message)


async def test_a_sweep_is_shown_with_its_trials_and_its_winner(stub: SweepServiceStub, sweeping: Sweeping) -> None:
    created = (await stub.CreateSweep(rpc.CreateSweepRequest(sweep=sweep()))).sweep
    await sweeping.conclude()

    found = (await stub.GetSweep(rpc.GetSweepRequest(id="rates"))).sweep

    written = MessageToDict(created, preserving_proto_field_name=True)
    assert written["space"] == SPACE
    assert (written["held_out"], written["measurements"], written["max_parallel"]) == (0.2, 5, 1)
    assert (written["pruning"], written["budget"]["time"]) == ({"keep_percent": 50.0, "startup_trials": 3}, "90s")
    assert (found.state, found.winner, found.model_version) == (pb.SWEEP_STATE_SUCCEEDED, 1, "lora@1")
    assert [trial.state for trial in found.trials] == [pb.SWEEP_TRIAL_STATE_MEASURED] * 2
    assert MessageToDict(found.trials[0].settings) == {
        "args.learning_rate": 1e-3,
        "lora.r": 4.0,
        "lora.target_modules": ["q_proj", "v_proj"],
    }
    assert (found.base, found.dataset_version, list(found.trials[0].losses)) == ("smollm2@1", "sft@1", [2.0, 1.0])
    assert MessageToDict(found.recipe)["method"] == "sft"
    assert list((await stub.ListSweeps(rpc.ListSweepsRequest(filter='plan = "lora"'))).sweeps) == [found]


async def test_a_sweep_is_cancelled_and_deleted(stub: SweepServiceStub, sweeping: Sweeping) -> None:
    await stub.CreateSweep(rpc.CreateSweepRequest(sweep=sweep()))

    cancelled = (await stub.CancelSweep(rpc.CancelSweepRequest(id="rates"))).sweep
    await sweeping.reconcile()
    await stub.DeleteSweep(rpc.DeleteSweepRequest(id="rates"))

    assert (cancelled.state, cancelled.reason) == (pb.SWEEP_STATE_CANCELLED, "CANCELLED")
    with pytest.raises(NotFound):
        await stub.GetSweep(rpc.GetSweepRequest(id="rates"))


async def test_a_range_and_choices_at_once_are_refused(stub: SweepServiceStub) -> None:
    both = {"setting": "lora.r", "range": {"low": 4, "high": 8}, "choices": [4, 8]}

    with pytest.raises(InvalidInput, match="either range or choices"):
        await stub.CreateSweep(rpc.CreateSweepRequest(sweep=sweep(space=[both])))


async def test_choices_that_are_no_numbers_are_refused(stub: SweepServiceStub) -> None:
    with pytest.raises(InvalidInput, match="send finite numbers"):
        await stub.CreateSweep(
            rpc.CreateSweepRequest(sweep=sweep(space=[{"setting": "args.weight_decay", "choices": [0.1, math.nan]}]))
        )


def test_what_is_not_sent_is_of_sweeps_themselves() -> None:
    assert unsent(pb.Sweep, Sweep) == {"dataset", "epoch", "open", "origin", "requester", "start"}
    assert unsent(pb.SweepTrial, SweepTrial) == {"point", "seconds"}
