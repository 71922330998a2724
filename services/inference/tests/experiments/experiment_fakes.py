"""A deployment on which experiments run: what they take beside the answers, in memory."""

from datetime import timedelta
from typing import Any

from services.inference.tests.fakes import ADA, ScriptedEngine, asking, question, writing
from services.inference.tests.rollouts.rollout_fakes import RolloutHarness
from tidemill_core.application import Request, ResourceKey
from tidemill_core.errors import TidemillError
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.resolve_configuration import ResolveConfiguration
from tidemill_inference.experiments.arms import Arms
from tidemill_inference.experiments.count_arms import CountArms
from tidemill_inference.experiments.crud import ExperimentCrud
from tidemill_inference.experiments.domain.errors import ExperimentNotFound
from tidemill_inference.experiments.domain.experiment import Experiment
from tidemill_inference.experiments.domain.plan import Arm, Measure, Measured
from tidemill_inference.experiments.domain.run import ExperimentRun
from tidemill_inference.experiments.hand_over import HandOver
from tidemill_inference.experiments.mongo import EXPERIMENTS
from tidemill_inference.experiments.reconcile_experiment import ReconcileExperiment
from tidemill_inference.experiments.records import RecordedRuns
from tidemill_inference.rollouts.domain.step_counts import Outcome
from tidemill_inference.rollouts.follow_ups import outcome_of
from tidemill_inference.rollouts.outcomes import RecordOutcome, RecordReaction
from tidemill_inference.rollouts.ports import Reaction
from tidemill_testkit.clocks import NOON
from tidemill_testkit.stores import InMemoryAggregates

TONE = ResourceKey(project=ADA.project, id="tone")


def tone(**changes: Any) -> Experiment:  # noqa: ANN401 - fields of it
    """Return an experiment of the live model and another one."""
    fields: dict[str, Any] = {
        "id": "tone",
        "project": ADA.project,
        "deployment": "helpdesk",
        "arms": (Arm(name="now", control=True), Arm(name="lora", model="lora")),
        "goal": Measured(measure=Measure.FAILURES),
    }
    return Experiment(**{**fields, **changes})


class ExperimentHarness:
    """The harness of rollouts, with experiments beside them."""

    def __init__(self) -> None:
        self.rollouts = RolloutHarness(candidate=ScriptedEngine(says="os.walk walks."))
        inner, outcomes = self.rollouts.harness, self.rollouts.outcomes
        self.outcomes, self.clock = outcomes, inner.clock
        self.experiments: InMemoryAggregates[Experiment] = InMemoryAggregates(
            codec=EXPERIMENTS, missing=ExperimentNotFound, clock=inner.clock
        )
        resolve = ResolveConfiguration(
            prompts=inner.prompts, models=inner.registry, retriever=inner.rag, candidates=self.rollouts.registry
        )
        self.arms = Arms(
            resolve=resolve,
            prompts=inner.prompts,
            candidates=self.rollouts.registry,
            indexes=self.rollouts.indexes,
            searched=inner.rag,
        )
        self.count = CountArms(outcomes=outcomes, clock=inner.clock)
        self.hand_over = HandOver(
            experiments=self.experiments,
            deployments=inner.deployments,
            outcomes=outcomes,
            count=self.count,
            clock=inner.clock,
        )
        self.reconcile = ReconcileExperiment(
            experiments=self.experiments,
            arms=self.arms,
            count=self.count,
            hand_over=self.hand_over,
            clock=inner.clock,
            max_answers=1000,
        )
        self.enqueued = list[ResourceKey]()
        self.crud = ExperimentCrud(
            experiments=self.experiments,
            deployments=inner.deployments,
            arms=self.arms,
            metrics=self.rollouts.declared,
            count=self.count,
            hand_over=self.hand_over,
            clock=inner.clock,
            enqueue=self.enqueued.append,
        )
        erased = self.rollouts._erased  # noqa: SLF001 - of the harness that this one is
        self.note = RecordOutcome(deployments=inner.deployments, outcomes=outcomes, erased=erased)
        self.react = RecordReaction(
            deployments=inner.deployments,
            outcomes=outcomes,
            erased=erased,
            answered_in=RecordedRuns(inferences=inner.inferences),
        )

    async def deployment(self) -> Deployment:
        return await self.rollouts.deployment()

    async def stored(self) -> Experiment:
        return await self.experiments.get(TONE.project, TONE.id)

    async def run(self) -> ExperimentRun:
        run = (await self.stored()).run
        assert run is not None
        return run

    async def starts(self, request_id: str = "c", **changes: Any) -> Experiment:  # noqa: ANN401 - fields of it
        return await self.crud.create(ADA, tone(**changes), writing(request_id))

    async def tick(self, after: timedelta = timedelta()) -> bool:
        self.clock.advance(after)
        return await self.reconcile(TONE)

    async def changes(self, **spec: Any) -> None:  # noqa: ANN401 - fields of it
        """Have another configuration be live."""

        def change(stored: Deployment) -> None:
            live = stored.live.with_answer(**spec)
            stored.configure(stored.spec, live, now=NOON)

        await self.rollouts.harness.deployments.update(ADA.project, "helpdesk", change, request=Request.internal())

    async def asks(self, user: str, number: int = 0, **changes: object) -> None:
        """Have a user ask, and record what came of it."""
        try:
            asked = question("What is os.walk?", end_user=user, **changes)
            await self.rollouts.answer.whole(ADA, asked, request=asking(f"{user}-{number}"))
        except TidemillError:
            pass
        for answered in self.rollouts.observed:
            asked_at = answered.inference.create_time
            await self.note(ADA.project, "helpdesk", outcome_of(answered), asked_at=asked_at)
        self.rollouts.observed.clear()

    async def came(self, arm: str, users: int, *, failed: int = 0, epoch: int = 0, total_s: float = 1.0) -> None:
        """Record an answer of each of so many users of an arm, of which some failed."""
        run = (await self.run()).id
        for number in range(users):
            each = Outcome(
                inference=f"{arm}-{epoch}-{number}",
                rollout=run,
                step=epoch,
                variant=arm,
                failed=number < failed,
                total_s=total_s,
                user=f"{arm}-{epoch}-{number}",
            )
            await self.outcomes.record(ADA.project, each)

    async def says(self, inference: str, score: float, *, metric: str = "solved", user: str = "u") -> bool:
        reaction = Reaction(
            feedback=f"f {inference}", seq=1, inference=inference, rollout="", metric=metric, score=score, end_user=user
        )
        return await self.react(ADA, "helpdesk", reaction, sent_at=NOON)
