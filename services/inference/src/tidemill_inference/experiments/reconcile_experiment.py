"""Take an experiment one step further, when its outcomes say so."""

import asyncio
from dataclasses import dataclass
from functools import partial

from tidemill_core.application import Clock, Request, ResourceKey
from tidemill_inference.experiments.arms import Arms
from tidemill_inference.experiments.count_arms import CountArms
from tidemill_inference.experiments.domain.errors import ExperimentNotFound
from tidemill_inference.experiments.domain.experiment import Experiment
from tidemill_inference.experiments.hand_over import HandOver
from tidemill_inference.experiments.ports import Experiments


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileExperiment:
    """Every decision is on a run and its epoch: one that comes late, or twice, changes nothing."""

    experiments: Experiments
    arms: Arms
    count: CountArms
    hand_over: HandOver
    clock: Clock
    max_answers: int

    async def __call__(self, ref: ResourceKey) -> bool:
        """Make at most one change; return whether the run goes on.

        Raises:
            DependencyUnavailable: a store does not answer; call again later.

        """
        try:
            experiment = await self.hand_over(await self.experiments.get(ref.project, ref.id))
        except ExperimentNotFound:
            return False
        run = experiment.run
        if run is None or not run.running:
            return False
        counts = await self.count(experiment)
        gone, now = await self.arms.gone(run, project=ref.project), self.clock.now()
        decide = partial(experiment.decide, counts, gone=gone, now=now, max_answers=self.max_answers)
        change = await asyncio.to_thread(decide)  # to weigh many different scores takes long
        if change.nothing:
            return True
        compare = partial(counts.with_differences, error=experiment.alpha)
        bounded = await asyncio.to_thread(compare)  # of what was decided on

        def changed(stored: Experiment) -> None:
            stored.reconcile(change, bounded, seen=run, now=now)

        saved = await self.experiments.update(ref.project, ref.id, changed, request=Request.internal())
        saved = await self.hand_over(saved)
        return saved.run is not None and saved.run.running
