"""The limits that a run has from its plan."""

from contextlib import suppress

from tidemill_trainer.application.ports import Plans
from tidemill_trainer.domain.errors import TrainingPlanNotFound
from tidemill_trainer.domain.training_plan import RunLimits
from tidemill_trainer.domain.training_run import TrainingRun


async def current_limits(plans: Plans, run: TrainingRun) -> RunLimits:
    """Return the current limits of the run's plan, or the run's own if the plan was deleted."""
    with suppress(TrainingPlanNotFound):
        return (await plans.get(run.project, run.plan)).settings.limits
    return run.limits
