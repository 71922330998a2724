"""The limits that a run has from its plan."""

from contextlib import suppress

from tidemill_trainer.errors import TrainingPlanNotFound
from tidemill_trainer.training.domain.plan import RunLimits
from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.ports import Plans


async def current_limits(plans: Plans, run: TrainingRun) -> RunLimits:
    """Return the current limits of the run's plan, or the run's own if the plan was deleted."""
    with suppress(TrainingPlanNotFound):
        return (await plans.get(run.project, run.plan)).settings.limits
    return run.limits
