"""Makes a sweep of a plan and a dataset version, of a request or of what the plan declares."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from tidemill_core.approvals import with_author
from tidemill_core.errors import InvalidInput
from tidemill_trainer.sweeps.domain.sweep import Sweep
from tidemill_trainer.training.check_plan import CheckPlan
from tidemill_trainer.training.domain.methods import METHODS
from tidemill_trainer.training.domain.plan import DatasetVersion, TrainingPlan
from tidemill_trainer.training.domain.search import Search


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeSweep:
    """Resolves the base and checks everything that can be checked before a trial starts; stores nothing."""

    check: CheckPlan
    max_trials: int

    async def __call__(  # noqa: PLR0913 - all of it is known at once, and fixed from then on
        self,
        plan: TrainingPlan,
        dataset: DatasetVersion,
        search: Search,
        *,
        sweep_id: str,
        labels: Mapping[str, str],
        origin: str,
        requester: str = "",
    ) -> Sweep:
        """Return the sweep.

        Raises:
            InvalidInput: names field, value and what is allowed.
            ModelNotFound, ModelVersionNotFound, BaseNotTrainable: the base is not there, or no set of full weights.
            RecipeNotForBase: a choice asks for what the base does not have.
            TeacherRefused: the plan's teacher cannot teach its base.

        """
        if METHODS[plan.settings.method].generates:
            text = f"is {plan.id[:80]!r}, a plan of {plan.settings.method}: its losses do not say how good a model is"
            raise InvalidInput.at(field="sweep.plan", text=text)
        base = await self.check.base_of(plan.project, plan.settings)
        length = plan.settings.recipe_on(base.facts).args["max_length"]
        guidance = await self.check.guidance(plan.project, plan.settings, base, trained=plan.id)
        authors = tuple(dict.fromkeys((*plan.authors, *guidance.authors)))
        args = {**plan.settings.args, "max_length": length}
        sweep = Sweep(
            **{each.name: getattr(search, each.name) for each in fields(search)},
            id=sweep_id,
            project=plan.project,
            labels=dict(labels),
            plan=plan.id,
            dataset=dataset,
            start=replace(plan.settings, base=base.id, args=args, teacher=guidance.teacher, sweep=None),
            origin=origin,
            requester=requester,
            authors=with_author(authors, requester),
        )
        sweep.check(max_trials=self.max_trials)
        sweep.searched.check()
        await self._check_modules(sweep)
        return sweep

    async def _check_modules(self, sweep: Sweep) -> None:
        """Check each choice of modules against the base."""
        for dimension in sweep.space:
            if dimension.setting == "lora.target_modules":
                for choice in dimension.choices:
                    lora = {**sweep.start.lora, dimension.name: choice}
                    await self.check(sweep.project, sweep.plan, replace(sweep.start, lora=lora))
