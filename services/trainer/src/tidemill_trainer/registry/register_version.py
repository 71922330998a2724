"""Registers a version whose files this service made, by training or by derivation."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tidemill_core.application import Clock, Request, derived_id
from tidemill_core.models.manifest import ArtifactFile
from tidemill_trainer.registry.domain.base_facts import FileFacts
from tidemill_trainer.registry.domain.memorisation import Memorisation
from tidemill_trainer.registry.domain.model import Model, version_id
from tidemill_trainer.registry.domain.model_version import Artifact, ModelVersion
from tidemill_trainer.registry.domain.reward_model import RewardModel
from tidemill_trainer.registry.domain.sources import DerivedSource, TrainedSource
from tidemill_trainer.registry.ports import Artifacts, Models, Versions


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeVersion:
    """A version before it is registered; its files were inspected."""

    project: str
    model: str
    source: TrainedSource | DerivedSource
    files: Sequence[ArtifactFile]
    creator: str
    authors: Sequence[str]
    facts: Mapping[str, FileFacts] = field(default_factory=dict)
    """By path; of full weights, which may be a base."""
    reward_model: RewardModel | None = None
    memorisation: Memorisation | None = None


async def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterVersion:
    """Emits ModelVersionWasRegistered once per source: the version's number derives from it.

    Files are stored first, then the version is saved as READY in one write. A crash in between leaves only objects,
    which the next call stores again.
    """

    models: Models
    versions: Versions
    artifacts: Artifacts
    clock: Clock

    async def __call__(
        self, made: MadeVersion, folder: Path, *, before_saving: Callable[[], Awaitable[object]] = _nothing
    ) -> ModelVersion:
        """Return the version; `folder` has its files.

        `before_saving` is awaited when all files are stored; what it raises leaves no version.
        """
        key = made.source.key
        model = await self.models.upsert(
            Model(id=made.model, project=made.project), lambda model: model.begin(key), request=Request.internal()
        )
        number = model.numbers[key]
        name = version_id(model.id, number)
        artifacts = [
            Artifact(
                file=file,
                object=await self.artifacts.put(made.project, name, file=file, local=folder / file.path),
                facts=made.facts.get(file.path),
            )
            for file in made.files
        ]
        fresh = ModelVersion.made(
            project=made.project,
            model=model.id,
            number=number,
            source=made.source,
            artifacts=artifacts,
            now=self.clock.now(),
            creator=made.creator,
            authors=made.authors,
            reward_model=made.reward_model,
            memorisation=made.memorisation,
        )
        await before_saving()
        saving = Request(id=derived_id("train", made.project, fresh.id), digest=fresh.id)
        return await self.versions.add(fresh, request=saving)

    async def made(self, project: str, model: str, source: TrainedSource | DerivedSource) -> ModelVersion | None:
        """Return the version that this source has already, or None: a worker may have crashed after registering it."""
        models = await self.models.get_many(project, [model])
        number = models[model].numbers.get(source.key) if model in models else None
        if number is None:
            return None
        name = version_id(model, number)
        return (await self.versions.get_many(project, [name])).get(name)
