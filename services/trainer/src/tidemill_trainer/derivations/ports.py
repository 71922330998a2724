"""Ports of derivations."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tidemill_core.application import Aggregates, Caller, ResourceKey
from tidemill_core.models.manifest import ArtifactFile
from tidemill_trainer.derivations.domain import Derivation
from tidemill_trainer.derivations.methods import Method
from tidemill_trainer.registry.domain.approvals import Missing
from tidemill_trainer.registry.domain.model_version import ModelVersion

Derivations = Aggregates[Derivation]


class Sources(Protocol):
    """Resolves references to versions of the registry; those that others share, too, so that they are refused."""

    async def version(self, project: str, reference: str, *, field: str = "id") -> ModelVersion:
        """Return `model@number`, or the newest ready version of `model`; errors name `field`.

        Raises:
            InvalidInput: the reference is neither.
            ModelNotFound: names the models that exist.
            ModelVersionNotFound: names the versions that exist.

        """
        ...


class Approvals(Protocol):
    """What a version lacks of the approvals that its model requires."""

    async def missing(self, caller: Caller, version: ModelVersion) -> Missing:
        """Return how many, and of which role."""
        ...


class Files(Protocol):
    """Files of versions on local disk."""

    async def fetch(self, version: ModelVersion) -> Path:
        """Return a folder with exactly the version's files, each of them verified in this call.

        Raises:
            ArtifactRefused: a file is damaged.
            DependencyUnavailable: the store does not answer, or the disk is full.

        """
        ...


class Calibrations(Protocol):
    """Examples of dataset versions, of ingest, that methods read."""

    async def resolve(self, caller: Caller, reference: str) -> str:
        """Return `dataset@number` of `dataset@number`, or of the newest version of `dataset`.

        Raises:
            DatasetVersionNotFound: there is none.
            ApprovalMissing: it lacks approvals.
            DependencyUnavailable: ingest does not answer.

        """
        ...

    async def fetch(self, project: str, version: str, target: Path) -> None:
        """Download and verify the train split of `dataset@number` as it is now.

        Raises:
            DatasetVersionNotFound: it was deleted, or belongs to another project, which does not share it any more.
            DependencyUnavailable: ingest or the store do not answer.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivationFolder:
    """Working folder of a derivation on local disk; nothing in it outlives an attempt."""

    path: Path

    @property
    def made(self) -> Path:
        """The files of the version, once they are complete."""
        return self.path / "made"

    @property
    def calibration(self) -> Path:
        """Examples that the method reads, JSON lines."""
        return self.path / "calibration.jsonl"


class Folders(Protocol):
    """Manages the working folders of derivations."""

    async def open(self, derivation: ResourceKey) -> DerivationFolder:
        """Return an empty folder.

        Raises:
            DependencyUnavailable: the disk is full.

        """
        ...

    async def remove(self, derivation: ResourceKey) -> None:
        """Remove the folder if it exists."""
        ...

    async def write_card(self, folder: DerivationFolder, text: str) -> None:
        """Write the model card beside the weights.

        Raises:
            DependencyUnavailable: the disk is full.

        """
        ...

    async def files(self, folder: DerivationFolder) -> tuple[ArtifactFile, ...]:
        """Return the files that were made, with sizes and digests.

        Raises:
            ArtifactRefused: a file may not be part of a model.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivationJob:
    """Input of a deriving process."""

    folder: DerivationFolder
    weights: Path
    """Full weights: the source's, or those of its base."""
    weights_name: str
    adapter: Path | None
    """What is merged into them first."""
    method: Method
    """What is done with them then. Its examples, if it reads any, are in the folder."""


class Deriving(Protocol):
    """Computes derived weights in a child process."""

    async def __call__(self, job: DerivationJob) -> Mapping[str, str]:
        """Write the version's files to `job.folder.made`, which exists whole or not at all; return facts for its card.

        Cancelling the call kills the process.

        Raises:
            DerivationFailed: with the reason.
            DependencyUnavailable: the disk is full.

        """
        ...
