"""Registers a run's adapter as a version of the plan's model."""

import json
from asyncio import to_thread
from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.models.manifest import ArtifactFile, ArtifactRefused
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.registry.domain.reward_model import RewardModel, tokenizer_digest
from tidemill_trainer.registry.domain.sources import TrainedSource
from tidemill_trainer.registry.ports import Inspector
from tidemill_trainer.registry.register_version import MadeVersion, RegisterVersion
from tidemill_trainer.training.domain.model_card import check_adapter_config, check_adapter_files, model_card
from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.ports import Folders, RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterAdapter:
    """Emits ModelVersionWasRegistered once per run, as RegisterVersion does."""

    register: RegisterVersion
    inspector: Inspector
    folders: Folders

    async def __call__(self, run: TrainingRun, folder: RunFolder, *, base: ModelVersion) -> ModelVersion:
        """Return the version, of an adapter on `base`.

        Raises:
            ArtifactRefused: a file may not be part of an adapter.

        """
        await self.folders.write_card(folder, model_card(run))
        files = await self._inspected(run, folder)
        made = MadeVersion(
            project=run.project,
            model=run.plan,
            source=_source_of(run),
            files=files,
            creator=run.requester,
            authors=run.authors,
            reward_model=_reward_model_of(run, base),
            memorisation=run.progress.memorisation,
        )
        return await self.register(made, folder.adapter)

    async def made(self, run: TrainingRun) -> ModelVersion | None:
        """Return the version that a crashed worker has already registered for this run, or None."""
        return await self.register.made(run.project, run.plan, _source_of(run))

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
