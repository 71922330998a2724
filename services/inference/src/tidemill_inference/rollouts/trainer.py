"""Whether the trainer's registry has a version, ready, at this moment."""

import grpc

from tidemill.trainer.v1 import model_pb2, model_registry_service_pb2, model_registry_service_pb2_grpc
from tidemill_core.application import Caller
from tidemill_core.approvals import ApprovalMissing
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_core.grpc.context import acting_as
from tidemill_inference.rollouts.domain.errors import CandidateNotReady


class TrainerCandidates:
    """Implements `ports.Candidates`."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float) -> None:
        self._registry = model_registry_service_pb2_grpc.ModelRegistryServiceStub(channel)
        self._timeout_s = timeout_s

    async def check(self, caller: Caller, model: str) -> None:
        """See `Candidates.check`."""
        version = await self._version(caller, model)
        if version.state != model_pb2.MODEL_VERSION_STATE_READY:
            state = model_pb2.ModelVersionState.Name(version.state).removeprefix("MODEL_VERSION_STATE_").lower()
            raise CandidateNotReady(model, why=f"the registry calls it {state}")
        if version.kind == model_pb2.MODEL_KIND_REWARD_MODEL:
            raise CandidateNotReady(model, why="it is a reward model, which scores answers and generates none")

    async def check_approved(self, caller: Caller, model: str) -> None:
        """See `Candidates.check_approved`."""
        response = await self._response(caller, model)
        _check_approved(response.version)
        if response.HasField("base"):
            _check_approved(response.base)
        elif base := response.version.source.trained.base or response.version.source.trained.finetuned_from:
            _check_approved(await self._version(caller, base))

    async def authors(self, caller: Caller, model: str) -> frozenset[str]:
        """See `Candidates.authors`."""
        version = await self._version(caller, model)
        return frozenset({version.creator, *version.authors} - {""})

    async def _version(self, caller: Caller, model: str) -> model_pb2.ModelVersion:
        return (await self._response(caller, model)).version

    async def _response(self, caller: Caller, model: str) -> model_registry_service_pb2.GetModelVersionResponse:
        try:
            with acting_as(caller):
                return await self._registry.GetModelVersion(
                    model_registry_service_pb2.GetModelVersionRequest(id=model), timeout=self._timeout_s
                )
        except (NotFound, InvalidInput) as error:
            raise CandidateNotReady(model, why="the registry has no such version") from error


def _check_approved(version: model_pb2.ModelVersion) -> None:
    if version.missing_approvals:
        raise ApprovalMissing(
            kind="model", version=version.id, missing=version.missing_approvals, role=version.approver_role
        )
