from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from services.trainer.tests.derivations.fakes import Deriving
from services.trainer.tests.registry.test_grpc import settings
from tidemill.trainer.v1 import derivation_pb2 as pb
from tidemill.trainer.v1 import derivation_service_pb2 as rpc
from tidemill.trainer.v1.derivation_service_pb2_grpc import (
    DerivationServiceStub,
    add_DerivationServiceServicer_to_server,
)
from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer
from tidemill_trainer.derivations.domain import DerivationHasEnded
from tidemill_trainer.derivations.grpc import GrpcDerivationService
from tidemill_trainer.derivations.messages import derivation_event, derivation_message


@pytest.fixture
async def deriving(tmp_path: Path) -> Deriving:
    return await Deriving(folder=tmp_path).ready()


@pytest.fixture
async def stub(deriving: Deriving, tmp_path: Path) -> AsyncIterator[DerivationServiceStub]:
    server = DirectServer(
        settings(tmp_path),
        [(add_DerivationServiceServicer_to_server, GrpcDerivationService(deriving.crud))],
        access=access_of(),
        audit=RecordedCalls(),
    )
    await server.start()
    channel = admin_channel(f"127.0.0.1:{server.port}", project="acme")
    yield DerivationServiceStub(channel)
    await channel.close()
    await server.stop(1.0)


async def test_a_derivation_is_shown_with_what_it_made(stub: DerivationServiceStub, deriving: Deriving) -> None:
    asked = pb.Derivation(source_version="helpdesk", model="small", quantize=pb.Quantize(), labels={"team": "help"})
    created = (await stub.CreateDerivation(rpc.CreateDerivationRequest(derivation=asked))).derivation
    await deriving.work(await deriving.derivations.get("acme", created.id))

    found = (await stub.GetDerivation(rpc.GetDerivationRequest(id=created.id))).derivation

    assert (created.state, created.source_version) == (pb.DERIVATION_STATE_QUEUED, "helpdesk@1")
    assert (found.state, found.model_version, found.base) == (pb.DERIVATION_STATE_SUCCEEDED, "small@1", "smollm2@1")
    assert (found.quantize.bits, found.attempt, list(found.authors)) == (8, 1, ["ben", "cleo", "user:ada"])
    assert found.weight_bytes > 0
    listed = await stub.ListDerivations(rpc.ListDerivationsRequest(filter='model = "small"'))
    assert list(listed.derivations) == [found]


async def test_a_merge_is_cancelled(stub: DerivationServiceStub) -> None:
    asked = pb.Derivation(source_version="helpdesk@1", model="whole", merge=pb.Merge())
    created = (await stub.CreateDerivation(rpc.CreateDerivationRequest(derivation=asked))).derivation

    cancelled = (await stub.CancelDerivation(rpc.CancelDerivationRequest(id=created.id))).derivation

    assert created.HasField("merge")
    assert (cancelled.state, cancelled.reason) == (pb.DERIVATION_STATE_CANCELLED, "CANCELLED")


@pytest.mark.parametrize(
    "asked",
    [
        pb.Derivation(prune_magnitude=pb.PruneMagnitude(sparsity=0.5)),
        pb.Derivation(prune_wanda=pb.PruneWanda(sparsity=0.25, calibration="tickets@3")),
        pb.Derivation(drop_layers=pb.DropLayers(layers=2, calibration="tickets")),
    ],
    ids=("magnitude", "wanda", "layers"),
)
async def test_what_is_pruned_is_returned_as_it_was_asked_for(
    stub: DerivationServiceStub, asked: pb.Derivation
) -> None:
    asked.source_version, asked.model = "smollm2@1", "thin"

    created = (await stub.CreateDerivation(rpc.CreateDerivationRequest(derivation=asked))).derivation

    method = asked.WhichOneof("method")
    assert method is not None
    requested, found = getattr(asked, method), getattr(created, method)
    if method == "drop_layers":
        requested.calibration = "tickets@3"
    assert found == requested


async def test_one_that_has_ended_is_deleted_and_what_it_made_stays(
    stub: DerivationServiceStub, deriving: Deriving
) -> None:
    waiting = await deriving.create("helpdesk")
    with pytest.raises(PreconditionFailed, match="cancel it first"):
        await stub.DeleteDerivation(rpc.DeleteDerivationRequest(id=waiting.id))
    await deriving.work(waiting)

    deleted = (await stub.DeleteDerivation(rpc.DeleteDerivationRequest(id=waiting.id))).derivation

    assert deleted.model_version == "small@1"
    assert [each.id for each in deriving.made()] == ["small@1"]
    with pytest.raises(NotFound):
        await stub.GetDerivation(rpc.GetDerivationRequest(id=waiting.id))


async def test_a_derivation_without_a_method_is_refused(stub: DerivationServiceStub) -> None:
    with pytest.raises(InvalidInput, match="must be merge, quantize, prune_magnitude, prune_wanda or"):
        await stub.CreateDerivation(rpc.CreateDerivationRequest(derivation=pb.Derivation(source_version="helpdesk")))


async def test_one_that_does_not_exist_is_not_found(stub: DerivationServiceStub) -> None:
    with pytest.raises(NotFound, match="derivation nope does not exist"):
        await stub.GetDerivation(rpc.GetDerivationRequest(id="nope"))


async def test_its_end_is_published_with_what_it_made(deriving: Deriving) -> None:
    done = await deriving.work(await deriving.create("helpdesk"))

    ce_type, message = derivation_event(done, DerivationHasEnded(occurred_at=deriving.registry.clock.now()), 1)

    assert ce_type == "tidemill.trainer.derivation.ended.v1"
    assert MessageToDict(message, preserving_proto_field_name=True) == {
        "derivation": done.id,
        "seq": "1",
        "source_version": "helpdesk@1",
        "model": "small",
        "state": "DERIVATION_STATE_SUCCEEDED",
        "model_version": "small@1",
    }


async def test_every_field_that_it_shows_is_filled_once_it_has_ended(deriving: Deriving) -> None:
    done = await deriving.work(await deriving.create("helpdesk"))
    done.requester = "ada"

    shown = {field.name for field, _ in derivation_message(done).ListFields()}

    other = {each.name for each in pb.Derivation.DESCRIPTOR.oneofs_by_name["method"].fields} - {"quantize"}
    assert {field.name for field in pb.Derivation.DESCRIPTOR.fields} - shown == other | {"reason", "message"}
