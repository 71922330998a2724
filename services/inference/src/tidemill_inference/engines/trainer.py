"""Model versions, as the trainer's registry knows them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import grpc
from cachetools import LRUCache

from tidemill.trainer.v1 import model_pb2, model_registry_service_pb2, model_registry_service_pb2_grpc
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller
from tidemill_core.errors import DependencyUnavailable, InvalidInput, NotFound
from tidemill_core.grpc.context import acting_as
from tidemill_core.resources import ResolveShared, nothing_shared
from tidemill_core.single_flight import SingleFlight
from tidemill_inference.deployments.domain.errors import ReferenceNotFound
from tidemill_inference.engines.ports import ModelVersion, RemoteModel
from tidemill_inference.errors import ModelNotReady, ModelNotShared, ModelRefused

_REMEMBERED = 256
_SHOWN = 50
_AHEAD = 0.5
"""The part of `recheck_s` after which a model in use is asked for again, beside the calls that need it."""


class _Asked(NamedTuple):
    """What is asked once for all who ask it at the same time; the trainer may answer another caller otherwise."""

    caller: Caller
    reference: str
    field: str


@dataclass(frozen=True, slots=True)
class _Known:
    model: ModelVersion
    asked: float

    @property
    def changes(self) -> bool:
        """Whether what is known of it may change."""
        return self.model.remote is not None or bool(self.model.owner)


class TrainerModels:
    """Implements `ports.Models`.

    A ready version of files never changes, so it is asked for once. A remote one may have been given another secret,
    and one of another project deleted there: they are asked for again after `recheck_s`, and what was known stays while
    the trainer does not answer; no call waits for that where calls go on. Of several calls at the same time one asks.
    Whether a model is shared is looked up each time.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        timeout_s: float,
        recheck_s: float = 5.0,
        shared: ResolveShared = nothing_shared,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = model_registry_service_pb2_grpc.ModelRegistryServiceStub(channel)
        self._timeout_s = timeout_s
        self._recheck_s = recheck_s
        self._shared = shared
        self._monotonic = monotonic
        self._ready: LRUCache[tuple[str, str], _Known] = LRUCache(_REMEMBERED)
        self._asking = SingleFlight[_Asked, ModelVersion]("ask for model")

    async def resolve(self, caller: Caller, reference: str, *, field: str) -> ModelVersion:
        """See `Models.resolve`."""
        if self._shared(caller.project, reference.partition("@")[0]) is None:
            raise ReferenceNotFound(reference, field=field, known=await self._known(caller))
        asked = _Asked(caller, reference, field)
        ask = partial(self._ask, asked)
        known = self._ready.get((caller.project, reference))
        age_s = self._monotonic() - known.asked if known else 0.0
        if known and (not known.changes or age_s < self._recheck_s):
            if known.changes and age_s >= _AHEAD * self._recheck_s:
                self._asking.begin(asked, ask)
            if known.model.base is not None and not known.model.owner and known.model.base.owner:
                return replace(known.model, base=await self._base(caller, reference, known.model.base.id, field=field))
            return known.model
        try:
            return await self._asking(asked, ask)
        except DependencyUnavailable:
            if known is None:
                raise
            return known.model

    @property
    def projects(self) -> set[str]:
        """The projects whose models are known."""
        return {each for (project, _), known in self._ready.items() for each in (project, *known.model.owners)}

    async def forget(self, project: str) -> int:
        """Forget a project's models, and those that it shares; return how many."""
        self._asking.forget_all()
        theirs = [key for key, known in self._ready.items() if project in (key[0], *known.model.owners)]
        return len([self._ready.pop(key) for key in theirs])

    async def _ask(self, asked: _Asked) -> ModelVersion:
        caller, reference, field = asked
        try:
            with acting_as(caller):
                response = await self._registry.GetModelVersion(
                    model_registry_service_pb2.GetModelVersionRequest(id=reference), timeout=self._timeout_s
                )
        except (NotFound, InvalidInput) as error:
            raise ReferenceNotFound(reference, field=field, known=await self._known(caller)) from error
        version = response.version
        if version.state != model_pb2.MODEL_VERSION_STATE_READY:
            state = model_pb2.ModelVersionState.Name(version.state).removeprefix("MODEL_VERSION_STATE_").lower()
            raise ModelNotReady(version.id, state=f"{state} ({version.message})" if version.message else state)
        if version.kind == model_pb2.MODEL_KIND_REWARD_MODEL:
            raise ModelRefused(version.id, why="it is a reward model, which scores answers and generates none")
        model = _model_of(version, caller.project)
        if response.HasField("base"):
            model = replace(model, base=_model_of(response.base, caller.project))
        elif base := version.source.trained.base:
            model = replace(model, base=await self._base(caller, model.id, base, field=field))
        if model.owner and model.remote is not None:
            raise ModelRefused(model.id, why="it is a remote model, whose key is its project's: import one of your own")
        if self._asking.is_current(asked):  # else its project may have been deleted meanwhile
            self._ready[caller.project, model.id] = _Known(model, self._monotonic())
        return model

    async def _base(self, caller: Caller, adapter: str, base: str, *, field: str) -> ModelVersion:
        """Return what an adapter belongs to.

        Raises:
            ModelNotShared: it belongs to another project, which does not share it any more.
            ModelRefused: it can carry no adapter.

        """
        try:
            found = await self.resolve(caller, base, field=field)
        except ReferenceNotFound as error:
            if "/" in base:
                raise ModelNotShared(base) from error
            raise
        if found.remote is not None or found.base is not None:
            raise ModelRefused(
                adapter, why=f"its base {found.id} has no weights in the registry, which an adapter needs"
            )
        return found

    async def _known(self, caller: Caller) -> list[str]:
        with acting_as(caller):
            response = await self._registry.ListModels(
                model_registry_service_pb2.ListModelsRequest(page_size=_SHOWN), timeout=self._timeout_s
            )
        return [f"{model.id}@{model.latest_version}" if model.latest_version else model.id for model in response.models]


def _model_of(version: model_pb2.ModelVersion, asking: str) -> ModelVersion:
    owner = "" if version.project == asking else version.project
    if version.source.HasField("openai"):
        openai = version.source.openai
        remote = RemoteModel(model=openai.model, base_url=openai.base_url, secret=openai.api_key_secret)
        return ModelVersion(id=version.id, digest=version.digest, remote=remote, owner=owner)
    files = {
        artifact.path: ObjectRef(bucket=artifact.bucket, key=artifact.key, size=artifact.size, sha256=artifact.sha256)
        for artifact in version.artifacts
    }
    return ModelVersion(id=version.id, digest=version.digest, files=files, owner=owner)
