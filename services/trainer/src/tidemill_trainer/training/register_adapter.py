"""Registers a run's adapter as a version of the plan's model."""

import json
from asyncio import to_thread
from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.application import Clock, Request, derived_id
from tidemill_core.models.manifest import ArtifactFile, ArtifactRefused
from tidemill_trainer.registry.domain.model import Model, version_id
from tidemill_trainer.registry.domain.model_version import Artifact, ModelVersion
from tidemill_trainer.registry.domain.reward_model import RewardModel, tokenizer_digest
from tidemill_trainer.registry.domain.sources import TrainedSource
from tidemill_trainer.registry.ports import Artifacts, Inspector, Models, Versions
from tidemill_trainer.training.domain.model_card import check_adapter_config, check_adapter_files, model_card
from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.ports import Folders, RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterAdapter:
    """Emits ModelVersionWasRegistered once per run: the version's number derives from the run.

    Files are inspected and stored first, then the version is saved as READY in one write. A crash in between leaves
    only objects, which the next call stores again.
    """

    models: Models
    versions: Versions
    artifacts: Artifacts
    inspector: Inspector
    folders: Folders
    clock: Clock

    async def __call__(self, run: TrainingRun, folder: RunFolder, *, base: ModelVersion) -> ModelVersion:
        """Return the version, of an adapter on `base`.

        Raises:
            ArtifactRefused: a file may not be part of an adapter.

        """
        await self.folders.write_card(folder, model_card(run))
        files = await self._inspected(run, folder)
        source = _source_of(run)
        model = await self.models.upsert(
            Model(id=run.plan, project=run.project), lambda model: model.begin(source.key), request=Request.internal()
        )
        number = model.numbers[source.key]
        name = version_id(model.id, number)
        artifacts = [
            Artifact(
                file=file,
                object=await self.artifacts.put(run.project, name, file=file, local=folder.adapter / file.path),
            )
            for file in files
        ]
        fresh = ModelVersion.trained(
            project=run.project,
            model=model.id,
            number=number,
            source=source,
            artifacts=artifacts,
            now=self.clock.now(),
            creator=run.requester,
            authors=run.authors,
            reward_model=_reward_model_of(run, base),
        )
        saving = Request(id=derived_id("train", run.project, fresh.id), digest=fresh.id)
        return await self.versions.add(fresh, request=saving)

    async def made(self, run: TrainingRun) -> ModelVersion | None:
        """Return the version that a crashed worker has already registered for this run, or None."""
        models = await self.models.get_many(run.project, [run.plan])
        number = models[run.plan].numbers.get(_source_of(run).key) if run.plan in models else None
        if number is None:
            return None
        name = version_id(run.plan, number)
        return (await self.versions.get_many(run.project, [name])).get(name)

    async def _inspected(self, run: TrainingRun, folder: RunFolder) -> Sequence[ArtifactFile]:
        files = await self.folders.adapter_files(folder)
        check_adapter_files([file.path for file in files])
        for file in files:
            await self.inspector.inspect(file.path, folder.adapter / file.path)
        try:
            config = json.loads(await to_thread((folder.adapter / "adapter_config.json").read_bytes))
        except ValueError as error:
            raise ArtifactRefused(path="adapter_config.json", why="is not JSON") from error
        check_adapter_config(config, base=run.base, scores=run.recipe.makes_reward_model)
        return files


def _reward_model_of(run: TrainingRun, base: ModelVersion) -> RewardModel | None:
    if not run.recipe.makes_reward_model:
        return None
    return RewardModel(tokenizer_sha256=tokenizer_digest(base.manifest.files), accuracy=run.progress.accuracy)


def _source_of(run: TrainingRun) -> TrainedSource:
    return TrainedSource(run=run.id, base=run.base, dataset_version=run.dataset.id)
