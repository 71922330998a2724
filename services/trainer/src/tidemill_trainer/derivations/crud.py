"""Create, get, list, cancel and delete derivations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tidemill_core.application import Caller, Clock, Page, PageRequest, Request, ResourceKey, derived_id
from tidemill_core.approvals import ApprovalMissing
from tidemill_core.resources import Write, create, delete, repeated
from tidemill_trainer.derivations.domain import Derivation, DerivationSource, refuse_shared
from tidemill_trainer.derivations.errors import DerivationChanged, NotDerivable
from tidemill_trainer.derivations.methods import Method, calibrated, calibration_of
from tidemill_trainer.derivations.ports import Approvals, Calibrations, Derivations, Sources
from tidemill_trainer.registry.domain.model_version import ModelVersion, VersionState
from tidemill_trainer.registry.domain.sources import DerivedSource, OpenAiSource, TrainedSource


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivationRequest:
    """What a caller asks of a new derivation."""

    source_version: str
    model: str
    method: Method
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivationCrud:
    """Derivations. Every call raises DerivationNotFound if the caller's project has none with this id."""

    derivations: Derivations
    sources: Sources
    approvals: Approvals
    calibrations: Calibrations
    clock: Clock
    enqueue: Callable[[ResourceKey], None]

    async def create(self, caller: Caller, requested: DerivationRequest, write: Write) -> Derivation:
        """Return the queued derivation; with `validate_only` the one that would be queued.

        Raises:
            InvalidInput: names every field that breaks its rule.
            ModelNotFound, ModelVersionNotFound: name those that exist.
            NotDerivable: the version has no weights here that could be read, or it or its base is another project's.
            DatasetVersionNotFound: there is no such version of the examples that the method reads.
            ApprovalMissing: the version lacks approvals, which what is made of it would not need; or the dataset
                version lacks them.

        """
        name = derived_id("CreateDerivation", caller.project, write.request.id)
        if known := await repeated(self.derivations, caller.project, name, write.request):
            return known
        fresh = Derivation(
            id=name,
            project=caller.project,
            labels=dict(requested.labels),
            source=await self._source(caller, requested.source_version),
            model=requested.model,
            method=await self._method(caller, requested.method),
            requester=caller.proven_subject,
        )
        fresh.check()
        created = await create(self.derivations, fresh, write)
        if not write.validate_only:
            self.enqueue(ResourceKey(project=created.project, id=created.id))
        return created

    async def get(self, caller: Caller, derivation_id: str) -> Derivation:
        """Return one derivation."""
        return await self.derivations.get(caller.project, derivation_id)

    async def list(self, caller: Caller, page: PageRequest) -> Page[Derivation]:
        """Return a page of derivations."""
        return await self.derivations.list(caller.project, page=page)

    async def cancel(self, caller: Caller, derivation_id: str, *, request: Request) -> Derivation:
        """Return the derivation, cancelled; its worker notices within a second and kills the process.

        Raises:
            DerivationFinished: it is registering its version, or has ended.

        """
        now = self.clock.now()
        return await self.derivations.update(
            caller.project, derivation_id, lambda derivation: derivation.cancel(now=now), request=request
        )

    async def delete(self, caller: Caller, derivation_id: str, write: Write) -> Derivation:
        """Return the deleted derivation; the version that it made is kept.

        Raises:
            DerivationUnfinished: it has not ended.
            DerivationChanged: it changed since the etag.

        """
        return await delete(
            self.derivations,
            caller.project,
            derivation_id,
            write,
            change=Derivation.refuse_unfinished,
            changed=DerivationChanged,
        )

    async def _method(self, caller: Caller, method: Method) -> Method:
        reference = calibration_of(method)
        return calibrated(method, await self.calibrations.resolve(caller, reference)) if reference else method

    async def _source(self, caller: Caller, reference: str) -> DerivationSource:
        version = await self.sources.version(caller.project, reference, field="derivation.source_version")
        refuse_shared(caller.project, version)
        if version.state is not VersionState.READY:
            raise NotDerivable(version.id, why=f"it is {version.state.value}")
        if isinstance(version.source, OpenAiSource):
            raise NotDerivable(version.id, why="it is a remote model, without weights in this registry")
        if version.reward_model:
            raise NotDerivable(version.id, why="it is a reward model, whose scores only trainings read")
        if version.facts.quantized:
            raise NotDerivable(version.id, why="its weights are quantized already: use what it was derived from")
        base = await self._base(caller, version)
        for each in (version, base):
            if each and (missing := await self.approvals.missing(caller, each)).count:
                raise ApprovalMissing(kind="model", version=each.id, missing=missing.count, role=missing.role)
        return DerivationSource(
            version=version.id,
            base=base.id if base else "",
            dataset_version=_dataset_of(version),
            authors=version.authors,
        )

    async def _base(self, caller: Caller, version: ModelVersion) -> ModelVersion | None:
        """Return the base of an adapter."""
        if not version.base:
            return None
        base = await self.sources.version(caller.project, version.base, field="derivation.source_version")
        refuse_shared(caller.project, version, base=base)
        if base.facts.quantized or base.base or isinstance(base.source, OpenAiSource):
            raise NotDerivable(version.id, why=f"its base {base.id} has no full weights")
        return base


def _dataset_of(version: ModelVersion) -> str:
    match version.source:
        case TrainedSource(dataset_version=dataset) | DerivedSource(dataset_version=dataset):
            return dataset
        case _:
            return ""
