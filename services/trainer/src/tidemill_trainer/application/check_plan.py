"""Check what a user says of a plan, before anything is stored or trained."""

from dataclasses import dataclass
from datetime import timedelta

from tidemill_kit.errors import InvalidInput, Violation
from tidemill_trainer.application.references import References
from tidemill_trainer.domain.errors import BaseNotTrainable
from tidemill_trainer.domain.model_version import ModelVersion, VersionState
from tidemill_trainer.domain.sources import OpenAiSource, TrainedSource
from tidemill_trainer.domain.training_plan import PlanSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckPlan:
    """Recipe, limits and base; the base is asked for again whenever a run is queued."""

    references: References
    most_time: timedelta
    most_memory_bytes: int

    async def __call__(self, project: str, plan_id: str, settings: PlanSettings) -> None:
        """Return quietly when a run of it could start.

        Raises:
            InvalidInput: names field, value and what is allowed.
            ModelNotFound: names the models that exist.
            ModelVersionNotFound: names the versions that exist.
            BaseNotTrainable: the base is no set of full weights, or not ready.

        """
        settings.check(most_time=self.most_time, most_memory_bytes=self.most_memory_bytes)
        base = await self.base(project, settings.base)
        if base.model == plan_id:
            description = (
                f"is {settings.base!r}; it must be another model than {plan_id}, whose versions the plan registers"
            )
            raise InvalidInput.of(Violation(field="plan.base", description=description))

    async def base(self, project: str, reference: str) -> ModelVersion:
        """Return the version that a base means now; raises as the call itself."""
        version = await self.references.version(project, reference, field="plan.base")
        if version.state is not VersionState.READY:
            raise BaseNotTrainable(version.id, why=f"it is {version.state.value}")
        if isinstance(version.source, OpenAiSource):
            raise BaseNotTrainable(version.id, why="it is a remote model, whose weights are not here")
        if isinstance(version.source, TrainedSource):
            raise BaseNotTrainable(version.id, why=f"it is itself an adapter on {version.source.base}: name that")
        return version
