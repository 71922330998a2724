"""A derivation that has ended, and services that answer for it."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from tidemill.trainer.v1 import derivation_pb2 as pb
from tidemill.trainer.v1 import derivation_service_pb2 as rpc
from tidemill.trainer.v1 import model_registry_service_pb2 as registry


def derivation(state: pb.DerivationState.ValueType = pb.DERIVATION_STATE_SUCCEEDED) -> pb.Derivation:
    done = state == pb.DERIVATION_STATE_SUCCEEDED
    return pb.Derivation(
        id="dv-1",
        source_version="helpdesk_lora@3",
        base="small@1",
        model="helpdesk_small",
        quantize=pb.Quantize(bits=8),
        state=state,
        reason="" if done else "OUT_OF_MEMORY",
        model_version="helpdesk_small@1" if done else "",
        source_bytes=270_000_000 if done else 0,
        weight_bytes=136_000_000 if done else 0,
    )


def _created(request: Any) -> rpc.CreateDerivationResponse:  # noqa: ANN401 - as all answers
    created = pb.Derivation()
    created.CopyFrom(request.derivation)
    created.id, created.state = "dv-1", pb.DERIVATION_STATE_QUEUED
    return rpc.CreateDerivationResponse(derivation=created)


async def _downloaded(_request: Any) -> AsyncIterator[registry.DownloadModelFileResponse]:  # noqa: ANN401 - ditto
    yield registry.DownloadModelFileResponse(chunk=b"{}")


DERIVATION_ANSWERS: dict[str, Callable[[Any], Any]] = {
    "trainer.v1.derivation_service:CreateDerivation": _created,
    "trainer.v1.model_registry_service:DownloadModelFile": _downloaded,
    "trainer.v1.derivation_service:GetDerivation": lambda _: rpc.GetDerivationResponse(derivation=derivation()),
    "trainer.v1.derivation_service:ListDerivations": lambda _: rpc.ListDerivationsResponse(derivations=[derivation()]),
    "trainer.v1.derivation_service:DeleteDerivation": lambda _: rpc.DeleteDerivationResponse(derivation=derivation()),
    "trainer.v1.derivation_service:CancelDerivation": lambda _: rpc.CancelDerivationResponse(
        derivation=pb.Derivation(id="dv-1", merge=pb.Merge(), state=pb.DERIVATION_STATE_CANCELLED)
    ),
}
