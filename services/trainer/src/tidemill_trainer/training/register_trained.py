"""Registers what a run trained, an adapter or full weights, as a version of the plan's model."""

import json
from asyncio import to_thread
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill_core.models.manifest import ArtifactFile, ArtifactRefused
from tidemill_trainer.registry.domain.base_facts import FileFacts
from tidemill_trainer.registry.domain.model_rules import check_model_files
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.registry.domain.reward_model import RewardModel, tokenizer_digest
from tidemill_trainer.registry.domain.sources import TrainedSource
from tidemill_trainer.registry.ports import Inspector
from tidemill_trainer.registry.register_version import MadeVersion, RegisterVersion
from tidemill_trainer.training.domain.model_card import check_adapter_config, check_adapter_files, model_card
from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.ports import Folders, RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterTrained:
    """Emits ModelVersionWasRegistered once per run, as RegisterVersion does."""

    register: RegisterVersion
    inspector: Inspector
    folders: Folders

    async def __call__(self, run: TrainingRun, folder: RunFolder, *, base: ModelVersion) -> ModelVersion:
        """Return the version, an adapter on `base` or full weights that were trained from it.

        Raises:
            ArtifactRefused: a file may not be part of it.
            SourceRefused: full weights lack a file.

        """
        await self.folders.write_card(folder, model_card(run))
        files = await self.folders.made_files(folder)
        facts = await self._inspected(run, folder, files)
        made = MadeVersion(
            project=run.project,
            model=run.plan,
            source=_source_of(run),
            files=files,
            facts=facts,
            creator=run.requester,
            authors=run.authors,
            reward_model=_reward_model_of(run, base),
            memorisation=run.progress.memorisation,
        )
        return await self.register(made, folder.made)

    async def made(self, run: TrainingRun) -> ModelVersion | None:
        """Return the version that a crashed worker has already registered for this run, or None."""
        return await self.register.made(run.project, run.plan, _source_of(run))

    async def _inspected(
        self, run: TrainingRun, folder: RunFolder, files: Sequence[ArtifactFile]
    ) -> Mapping[str, FileFacts]:
        """Check the files; return the facts of full weights, which may be a base."""
        paths = [file.path for file in files]
        if run.recipe.makes_full_weights:
            check_model_files(paths)
        else:
            check_adapter_files(paths)
        facts = {path: await self.inspector.inspect(path, folder.made / path) for path in paths}
        if run.recipe.makes_full_weights:
            return facts
        try:
            config = json.loads(await to_thread((folder.made / "adapter_config.json").read_bytes))
        except ValueError as error:
            raise ArtifactRefused(path="adapter_config.json", why="is not JSON") from error
        check_adapter_config(config, base=run.base, scores=run.recipe.makes_reward_model)
        return {}


def _reward_model_of(run: TrainingRun, base: ModelVersion) -> RewardModel | None:
    if not run.recipe.makes_reward_model:
        return None
    return RewardModel(tokenizer_sha256=tokenizer_digest(base.manifest.files), accuracy=run.progress.accuracy)


def _source_of(run: TrainingRun) -> TrainedSource:
    full = run.recipe.makes_full_weights
    return TrainedSource(
        run=run.id,
        base="" if full else run.base,
        dataset_version=run.dataset.id,
        finetuned_from=run.base if full else "",
    )
