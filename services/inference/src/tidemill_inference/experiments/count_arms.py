"""Count what came of the answers of a run."""

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial

from cachetools import LRUCache

from tidemill_core.application import Clock, ResourceKey
from tidemill_inference.experiments.domain.cohorts import MIN_USERS
from tidemill_inference.experiments.domain.comparison import Counts, counted
from tidemill_inference.experiments.domain.experiment import Experiment
from tidemill_inference.experiments.domain.run import ExperimentRun
from tidemill_inference.rollouts.ports import Outcomes

_FEW = 2000
"""So many outcomes are counted within some hundredths of a second; more are in a thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What was counted last, at which mark, and the bounds of its differences once they were asked for."""

    mark: object
    counts: Counts
    compared: asyncio.Task[Counts] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountArms:
    """Outcomes are read again only after something was recorded, or matured, and once for all who ask meanwhile."""

    outcomes: Outcomes
    clock: Clock
    min_cohort_users: int = MIN_USERS
    known: LRUCache[ResourceKey, _Known] = field(default_factory=lambda: LRUCache(256))
    counting: dict[tuple[ResourceKey, str], asyncio.Task[_Known]] = field(default_factory=dict)
    """What is read and counted now, by experiment and run."""

    async def __call__(self, experiment: Experiment) -> Counts:
        """Return what counts of its running run.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        return (await self._counted(experiment)).counts

    async def read(self, experiment: Experiment) -> Experiment:
        """Return it with what is known by now, and the bounds of differences."""
        run = experiment.run
        if run is None or not run.running:
            return experiment
        return replace(experiment, run=run.with_counts(await self.compared(experiment)))

    async def compared(self, experiment: Experiment) -> Counts:
        """Return what counts with the bounds of differences: computed in a thread, and once for all who ask.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        known = await self._counted(experiment)
        latest = self.known.get(_key(experiment))
        if latest and latest.counts is known.counts:  # which another one may compare by now
            known = latest
        if (work := known.compared) is None:
            compare = partial(known.counts.with_differences, error=experiment.alpha)
            work = asyncio.create_task(asyncio.to_thread(compare))
            self.known[_key(experiment)] = replace(known, compared=work)
        return await asyncio.shield(work)  # which goes on for the others where one of them is cancelled

    async def _counted(self, experiment: Experiment) -> _Known:
        of = _key(experiment), _run(experiment).id
        if (work := self.counting.get(of)) is None:
            work = self.counting[of] = asyncio.create_task(self._count(experiment))
            work.add_done_callback(lambda _: self.counting.pop(of, None))
        return await asyncio.shield(work)

    async def _count(self, experiment: Experiment) -> _Known:
        run, now, key = _run(experiment), self.clock.now(), _key(experiment)
        mark = (run.id, await self.outcomes.mark_of_run(experiment.project, run.id))
        known = self.known.get(key)
        if known and known.mark == mark and (known.counts.matures is None or now < known.counts.matures):
            return known
        found = await self.outcomes.of_run(experiment.project, run.id)
        guardrails = [each.measured for each in experiment.guardrails]
        count = partial(
            counted,
            found,
            run.names,
            goal=experiment.goal,
            guardrails=guardrails,
            now=now,
            sticky_by=experiment.sticky_by,
            cohorts=experiment.cohorts,
            min_cohort_users=self.min_cohort_users,
        )
        counts = count() if len(found) <= _FEW else await asyncio.to_thread(count)
        self.known[key] = fresh = _Known(mark=mark, counts=counts)
        return fresh


def _key(experiment: Experiment) -> ResourceKey:
    return ResourceKey(project=experiment.project, id=experiment.id)


def _run(experiment: Experiment) -> ExperimentRun:
    if experiment.run is None:
        message = f"experiment {experiment.id} has no run"
        raise ValueError(message)
    return experiment.run
