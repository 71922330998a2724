"""In-memory harness of derivations, on that of the registry."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.trainer.tests.registry.fakes import ADA, Registry, model_files, safetensors
from services.trainer.tests.training.fakes import request
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller, Request, ResourceKey
from tidemill_core.models.manifest import ArtifactFile
from tidemill_core.resources import Write
from tidemill_testkit.clocks import NOON
from tidemill_testkit.stores import InMemoryAggregates
from tidemill_trainer.derivations.crud import DerivationCrud, DerivationRequest
from tidemill_trainer.derivations.derivation_folders import DerivationFolders
from tidemill_trainer.derivations.derive_version import DeriveVersion
from tidemill_trainer.derivations.domain import Derivation
from tidemill_trainer.derivations.errors import DerivationNotFound
from tidemill_trainer.derivations.methods import Merge, Method, Quantize
from tidemill_trainer.derivations.mongo import DERIVATIONS
from tidemill_trainer.derivations.ports import DerivationJob
from tidemill_trainer.errors import DatasetVersionNotFound
from tidemill_trainer.registry.domain.model import Model
from tidemill_trainer.registry.domain.model_version import Artifact, ModelVersion
from tidemill_trainer.registry.domain.sources import TrainedSource
from tidemill_trainer.registry.file_inspector import FileInspector

INT8 = Quantize()
MERGE = Merge()


class FakeFiles:
    """Versions as folders by their id."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        """What is no Exception is a kill of the worker."""
        self.gate: asyncio.Event | None = None
        self.begun = asyncio.Event()

    async def fetch(self, version: ModelVersion) -> Path:
        self.begun.set()
        if self.gate:
            await self.gate.wait()
        if self.error:
            raise self.error
        return Path(version.id)


class FakeCalibrations:
    """Versions of the dataset `tickets`, the newest of which is 3."""

    def __init__(self) -> None:
        self.versions = {"tickets": "tickets@3", "tickets@2": "tickets@2", "tickets@3": "tickets@3"}

    async def resolve(self, caller: Caller, reference: str) -> str:
        assert caller.project
        if reference not in self.versions:
            raise DatasetVersionNotFound(reference)
        return self.versions[reference]

    async def fetch(self, project: str, version: str, target: Path) -> None:
        assert project
        if version not in self.versions:
            raise DatasetVersionNotFound(version)
        await asyncio.to_thread(target.write_text, f'{{"id": "{version}"}}\n')


@dataclass(kw_only=True)
class FakeDeriving:
    """Writes a small model; can fail, or wait until it is killed."""

    jobs: list[DerivationJob] = field(default_factory=list)
    error: Exception | None = None
    gate: asyncio.Event | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    killed: int = 0
    more_files: Mapping[str, bytes] = field(default_factory=dict)
    examples_read: str = ""
    """The examples that the last job found in its folder."""

    async def __call__(self, job: DerivationJob) -> Mapping[str, str]:
        self.jobs.append(job)
        self.begun.set()
        self.examples_read = job.folder.calibration.read_text() if job.folder.calibration.exists() else ""
        try:
            if self.gate:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.killed += 1
            raise
        if self.error:
            raise self.error
        job.folder.made.mkdir()
        for path, content in (model_files(model__safetensors=safetensors(3)) | dict(self.more_files)).items():
            (job.folder.made / path).write_bytes(content)
        return {"torch": "2.13.0"}


@dataclass(kw_only=True)
class Deriving:
    """The use cases of derivations, with a base `smollm2` and an adapter `helpdesk` on it."""

    folder: Path
    enqueued: list[ResourceKey] = field(default_factory=list)
    epoch: int = 0

    def __post_init__(self) -> None:
        self.registry = Registry(folder=self.folder)
        clock = self.registry.clock
        self.derivations = InMemoryAggregates[Derivation](codec=DERIVATIONS, missing=DerivationNotFound, clock=clock)
        self.process, self.files, self.calibrations = FakeDeriving(), FakeFiles(), FakeCalibrations()
        self.crud = DerivationCrud(
            derivations=self.derivations,
            sources=self.registry.shared,
            approvals=self.registry.approvals,
            calibrations=self.calibrations,
            clock=clock,
            enqueue=self.enqueued.append,
        )
        self.derive_version = DeriveVersion(
            derivations=self.derivations,
            sources=self.registry.shared,
            files=self.files,
            calibrations=self.calibrations,
            folders=DerivationFolders(self.folder / "derivations"),
            deriving=self.process,
            inspector=FileInspector(),
            register=self.registry.register_version,
            max_fruitless=3,
            clock=clock,
        )

    async def ready(self) -> "Deriving":
        """Register base and adapter."""
        await self.registry.register(model_files())
        await self.add_adapter("helpdesk")
        return self

    async def add_adapter(self, model: str, *, project: str = ADA.project, base: str = "smollm2@1") -> None:
        """Add what a run has trained; without a base full weights."""
        await self.registry.models.upsert(
            Model(id=model, project=project), lambda model: model.begin("run"), request=Request.internal()
        )
        file = ArtifactFile("adapter_model.safetensors", 1, "0" * 64)
        key = f"{project}/k"
        adapter = ModelVersion.made(
            project=project,
            model=model,
            number=1,
            source=TrainedSource(run="run-1", base=base, dataset_version="tickets@3"),
            artifacts=[Artifact(file=file, object=ObjectRef(bucket="b", key=key, size=1, sha256="0" * 64))],
            now=NOON,
            creator="ben",
            authors=("ben", "cleo"),
        )
        await self.registry.versions.add(adapter, request=Request.internal())

    async def create(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        source: str = "helpdesk",
        *,
        caller: Caller = ADA,
        model: str = "small",
        method: Method = INT8,
        name: str = "",
        validate_only: bool = False,
    ) -> Derivation:
        """Create a derivation."""
        requested = DerivationRequest(source_version=source, model=model, method=method, labels={"team": "help"})
        return await self.crud.create(caller, requested, Write(request=request(name), validate_only=validate_only))

    async def work(self, derivation: Derivation) -> Derivation:
        """Let a worker have it with the next epoch of its lease; return it as it is then."""
        self.epoch += 1
        await self.derive_version(key_of(derivation), epoch=self.epoch)
        return await self.derivations.get(derivation.project, derivation.id)

    def made(self, model: str = "small") -> list[ModelVersion]:
        """Return the versions of a model."""
        return [each for each in self.registry.versions.all() if each.model == model]


def key_of(derivation: Derivation) -> ResourceKey:
    """Return its key."""
    return ResourceKey(project=derivation.project, id=derivation.id)
