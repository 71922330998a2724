"""Fetches the models, beside the base, that a run learns from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.ports import Bases, ModelFolders, References


@dataclass(kw_only=True)
class FetchModels:
    """Of one run. A base that several have, or the run itself, is fetched and verified once."""

    references: References
    bases: Bases
    fetched: dict[str, Path] = field(default_factory=dict)
    """Folders of full weights, by version."""

    async def reward_models(self, run: TrainingRun) -> Mapping[str, ModelFolders]:
        """Return the models of its rewards, by name; raises as `References.version` and `Bases.fetch`."""
        return {name: await self._folders(run.project, name, field="rewards") for name in run.reward_models}

    async def teacher(self, run: TrainingRun) -> ModelFolders | None:
        """Return its teacher, if it has one; raises as `References.version` and `Bases.fetch`."""
        name = run.recipe.teacher
        return await self._folders(run.project, name, field="teacher") if name else None

    async def _folders(self, project: str, name: str, *, field: str) -> ModelFolders:
        version = await self.references.version(project, name, field=field)
        whole = version
        if version.base:
            shared = await self.references.base_of(project, version)
            whole = shared or await self.references.version(project, version.base, field=field)
        if whole.id not in self.fetched:
            self.fetched[whole.id] = await self.bases.fetch(whole)
        adapter = await self.bases.fetch(version) if version.base else None
        return ModelFolders(base=self.fetched[whole.id], adapter=adapter)
