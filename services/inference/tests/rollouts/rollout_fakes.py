"""A desk with a rollout on it: what it takes beside the answers, in memory."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from services.inference.tests.fakes import ADA, AnsweringHarness, ScriptedEngine, asking, helpdesk, question, writing
from tidemill_core.aggregate import Event
from tidemill_core.application import Caller, Clock, ResourceKey, SystemClock
from tidemill_core.approvals import ApprovalMissing
from tidemill_core.characters import clean_line
from tidemill_core.errors import InvalidInput, TidemillError
from tidemill_inference.deployments.crud import DeploymentCrud
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.resolve_configuration import ResolveConfiguration
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.domain.outcome import AnswerOutcome
from tidemill_inference.generation.shadow import AnswerShadow
from tidemill_inference.rollouts.commands import RolloutCommand, RolloutCommands
from tidemill_inference.rollouts.domain.changes import IndexChange, PassedEvaluation
from tidemill_inference.rollouts.domain.errors import CandidateNotReady, IndexNotReady
from tidemill_inference.rollouts.domain.policy import AbortRules, RolloutPolicy, RolloutStep
from tidemill_inference.rollouts.domain.rollout import Rollout
from tidemill_inference.rollouts.domain.step_counts import Outcome, ServerEnd
from tidemill_inference.rollouts.domain.values import GivenValue
from tidemill_inference.rollouts.follow_ups import outcome_of
from tidemill_inference.rollouts.outcomes import CountOutcomes, ForgetOutcomes, RecordOutcome, RecordReaction
from tidemill_inference.rollouts.ports import Reaction
from tidemill_inference.rollouts.prepare_candidate import PrepareCandidate
from tidemill_inference.rollouts.prompts import StoredPrompts
from tidemill_inference.rollouts.reconcile_rollout import ReconcileRollout
from tidemill_inference.rollouts.start_rollout import StartRollout

HELPDESK = ResourceKey(project=ADA.project, id="helpdesk")
POLICY = RolloutPolicy(
    gate="helpdesk_gate",
    steps=(RolloutStep(shadow=True, requests=3), RolloutStep(weight=50, requests=12, at_least=4)),
    abort=AbortRules(error_rate_above=0.02, latency_p95_ratio_above=1.5, rating_loss_above=0.02),
)


class InMemoryOutcomes:
    """Outcomes and reactions by project and inference."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._last: dict[tuple[str, str], datetime] = {}
        self._recorded: dict[tuple[str, str], Outcome] = {}
        self._reactions: dict[tuple[str, str], dict[str, Reaction]] = {}
        self._ends: set[tuple[str, ServerEnd]] = set()
        self._changes = 0
        self.reads = 0

    async def record(self, project: str, outcome: Outcome) -> None:
        self._recorded.pop((project, outcome.inference), None)
        self._recorded[project, outcome.inference] = outcome
        self._changed(project, outcome.rollout)

    async def record_end(self, project: str, end: ServerEnd) -> None:
        self._ends.add((project, end))
        self._changed(project, end.rollout)

    async def ends(self, project: str, rollout: str, step: int) -> int:
        return sum((of, each.rollout, each.step) == (project, rollout, step) for of, each in self._ends)

    async def remove(self, project: str, inference: str) -> None:
        gone = self._recorded.pop((project, inference), None)
        self._reactions.pop((project, inference), None)
        if gone:
            self._changed(project, gone.rollout)

    async def of_run(self, project: str, run: str) -> Sequence[Outcome]:
        self.reads += 1
        return [
            self._valued(key, each) for key, each in self._recorded.items() if (key[0], each.rollout) == (project, run)
        ]

    async def mark_of_run(self, project: str, run: str) -> object:
        assert project
        assert run
        return self._changes

    async def react(self, project: str, reaction: Reaction) -> None:
        given = self._reactions.setdefault((project, reaction.inference), {})
        if reaction.feedback not in given or given[reaction.feedback].seq < reaction.seq:
            given[reaction.feedback] = reaction
            self._changed(project, reaction.rollout)

    async def retract(self, project: str, reaction: Reaction) -> None:
        given = self._reactions.get((project, reaction.inference), {})
        if reaction.feedback in given and given[reaction.feedback].seq == reaction.seq:
            given[reaction.feedback] = replace(reaction, score=None, end_user="")
            self._changed(project, reaction.rollout)

    async def of_end_user(self, project: str, end_user: str, *, validate_only: bool = False) -> int:
        names, count = {end_user, clean_line(end_user)}, 0
        asked = [key for key, each in self._recorded.items() if key[0] == project and each.user in names]
        count += len(asked)
        for key in [] if validate_only else asked:
            await self.remove(*key)
        for key, given in self._reactions.items():
            theirs = [each for each, said in given.items() if said.end_user in names and said.score is not None]
            count += bool(theirs and key[0] == project and key not in asked)
            for each in theirs if key[0] == project and not validate_only else ():
                self._changed(project, given.pop(each).rollout)
        return count

    async def of_step(self, project: str, rollout: str, step: int, *, newest: int | None = None) -> Sequence[Outcome]:
        self.reads += 1
        return [self._valued(key, self._recorded[key]) for key in self._newest(project, rollout, step)[:newest]]

    async def mark(self, project: str, rollout: str, step: int) -> object:
        return self._changes, len(self._newest(project, rollout, step))

    async def trim(self, project: str, rollout: str, step: int, *, newest: int, before: datetime) -> None:
        for key in [key for earlier in range(step) for key in self._newest(project, rollout, earlier)]:
            del self._recorded[key]
        if self._last.get((project, rollout), before) < before:
            self._reactions = {key: given for key, given in self._reactions.items() if key in self._recorded}
        for key in self._newest(project, rollout, step)[newest:]:
            del self._recorded[key]

    def _newest(self, project: str, rollout: str, step: int) -> list[tuple[str, str]]:
        return [
            key
            for key, outcome in reversed(self._recorded.items())
            if key[0] == project and (outcome.rollout, outcome.step) == (rollout, step)
        ]

    async def quiet(self, *, since: datetime) -> Sequence[tuple[str, str]]:
        return [key for key, last in self._last.items() if last < since]

    async def forget(self, project: str, rollout: str) -> None:
        self._last.pop((project, rollout), None)
        self._ends = {each for each in self._ends if (each[0], each[1].rollout) != (project, rollout)}
        for key in [each for each, outcome in self._recorded.items() if outcome.rollout == rollout]:
            if key[0] == project:
                del self._recorded[key]
                self._reactions.pop(key, None)

    def _changed(self, project: str, rollout: str) -> None:
        self._last[project, rollout] = self._clock.now()
        self._changes += 1

    def _valued(self, key: tuple[str, str], outcome: Outcome) -> Outcome:
        given = self._reactions.get(key, {}).values()
        values = [
            GivenValue(
                metric=each.metric,
                score=each.score,
                weight=each.weight,
                user=each.end_user,
                mature_time=each.mature_time,
            )
            for each in given
            if each.score is not None
        ]
        return replace(outcome, values=tuple(values))


@dataclass
class Declared:
    """The metrics of the project, all of which can compare answers."""

    metrics: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    matures_after: timedelta = timedelta()

    async def check(self, caller: Caller, metric: str, *, field: str) -> timedelta:
        assert caller.project
        self.asked.append(metric)
        if metric not in self.metrics:
            raise InvalidInput.at(field=field, text=f"is {metric}, which the project does not declare")
        return self.matures_after


class Active:
    """Knows the desk's deployment while its rollout is active."""

    def __init__(self, harness: "RolloutHarness") -> None:
        self._harness = harness

    async def all(self) -> Sequence[ResourceKey]:
        deployment = await self._harness.deployment()
        return [HELPDESK] if deployment.active_rollout else []


@dataclass
class Registered:
    """A registry in which every version is ready, but for these."""

    missing: dict[str, str] = field(default_factory=dict)
    down: TidemillError | None = None
    made_by: dict[str, set[str]] = field(default_factory=dict)
    lacking: set[str] = field(default_factory=set)
    """Versions that one person still has to agree to."""

    async def check_approved(self, caller: Caller, model: str) -> None:
        assert caller.project
        if model in self.lacking:
            raise ApprovalMissing(kind="model", version=model, missing=1, role="operator")

    async def authors(self, caller: Caller, model: str) -> frozenset[str]:
        await self.check(caller, model)
        return frozenset(self.made_by.get(model, ()))

    async def check(self, caller: Caller, model: str) -> None:
        assert caller.project
        if self.down:
            raise self.down
        if model in self.missing:
            raise CandidateNotReady(model, why=self.missing[model])


@dataclass
class IndexVersions:
    """rag's index versions of the collections: which is live, and which are ready beside it."""

    live_now: int = 4
    ready: set[int] = field(default_factory=lambda: {5})
    down: TidemillError | None = None
    promoted: list[int] = field(default_factory=list)
    when_promoted: Callable[[], None] | None = None

    async def live(self, caller: Caller, collection: str, index: int) -> int:
        assert caller.project
        if self.down:
            raise self.down
        if index not in {*self.ready, self.live_now}:
            raise IndexNotReady(collection, index, why="rag has no such version that is ready")
        return self.live_now

    async def promote(self, caller: Caller, change: IndexChange) -> None:
        live = await self.live(caller, change.collection, change.pending)
        if change.pending != live:
            change.check_live(live)
            self.ready = {*self.ready, self.live_now} - {change.pending}
            self.live_now = change.pending
            self.promoted.append(change.pending)
        if self.when_promoted:
            self.when_promoted()


class RolloutHarness:
    """A deployment that follows `lora`, with the live engine and the candidate's."""

    def __init__(self, policy: RolloutPolicy = POLICY, candidate: ScriptedEngine | None = None, **spec: object) -> None:
        self.candidate = candidate or ScriptedEngine(says="os.walk walks.")
        deployment = helpdesk(**{"follow": "lora", "rollout_policy": policy, **spec})
        self.harness = AnsweringHarness(deployment=deployment, lora=self.candidate)
        self.outcomes = InMemoryOutcomes(self.harness.clock)
        self.registry = Registered()
        self.indexes = IndexVersions()
        self.observed = list[AnswerOutcome]()
        deployments, clock = self.harness.deployments, self.harness.clock
        self.answer = replace(self.harness.answer, observe=self.observed.append)
        self.shadow = AnswerShadow(answer=self.answer)
        prompts = StoredPrompts(self.harness.prompts)
        self.start = StartRollout(
            deployments=deployments, candidates=self.registry, indexes=self.indexes, prompts=prompts, clock=clock
        )
        prepare = PrepareCandidate(
            candidates=self.registry,
            models=self.harness.registry,
            engines=self.harness.engines,
            indexes=self.indexes,
            prompts=prompts,
        )
        self.count = CountOutcomes(outcomes=self.outcomes, clock=clock)
        self.note = RecordOutcome(deployments=deployments, outcomes=self.outcomes)
        self.reconcile = ReconcileRollout(
            deployments=deployments, outcomes=self.outcomes, count=self.count, prepare=prepare, clock=clock
        )
        self.commands = RolloutCommands(deployments=deployments, prepare=prepare, count=self.count, clock=clock)
        self.promote, self.roll_back, self.approve = (
            self.commands.promote,
            self.commands.roll_back,
            self.commands.approve,
        )
        self.erased = dict[str, datetime]()
        self.react = RecordReaction(deployments=deployments, outcomes=self.outcomes, erased=self._erased)
        self.declared = Declared()
        self.forget = ForgetOutcomes(
            active=Active(self), deployments=deployments, outcomes=self.outcomes, clock=self.harness.clock
        )
        self._asked = 0

    async def _erased(self, project: str, end_users: Collection[str]) -> Mapping[str, datetime]:
        assert project == ADA.project
        return {name: until for name, until in self.erased.items() if name in end_users}

    @property
    def published(self) -> list[Event]:
        return self.harness.deployments.published

    async def deployment(self) -> Deployment:
        return await self.harness.deployments.get(HELPDESK.project, HELPDESK.id)

    async def rollout(self) -> Rollout:
        rollout = (await self.deployment()).rollout
        assert rollout is not None
        return rollout

    async def passes_the_gate(self, evaluation: str = "e1", *, baseline_index: int = 0, **changes: str) -> None:
        known = {
            "gate": "helpdesk_gate",
            "candidate": "lora@1",
            "baseline": (await self.deployment()).live.digest,
        }
        passed = PassedEvaluation(evaluation=evaluation, baseline_index=baseline_index, **{**known, **changes})
        await self.start(ADA, HELPDESK.id, passed, request=asking(f"event {evaluation}"))

    async def is_rolling(self, *, step: int = 0) -> None:
        """Have a rollout in this step."""
        await self.passes_the_gate()
        await self.tick()
        while (await self.rollout()).step < step:
            await self.asks(1)
            await self.tick()

    async def asks(self, requests: int, *, of: range = range(1_000_000)) -> list[Inference]:
        """Have different users ask, and do what follows their answers."""
        answers = []
        for _ in range(requests):
            self._asked += 1
            user = f"u{of[self._asked % len(of)]}"
            try:
                asked = question(f"What is os.walk {self._asked}?", end_user=user)
                answers.append(await self.answer.whole(ADA, asked, request=asking(f"r{self._asked}")))
            except TidemillError:
                continue
        await self.follows_up()
        return answers

    async def follows_up(self) -> None:
        while self.observed:
            answered = self.observed.pop(0)
            chosen = answered.chosen
            outcome = outcome_of(replace(answered, total_s=1.0))
            await self.note(answered.inference.project, answered.question.deployment, outcome)
            if chosen.shadowed:
                try:
                    await self.shadow(answered)
                except TidemillError:
                    continue

    async def tick(self, *, epoch: int = 1, after: timedelta = timedelta()) -> bool:
        self.harness.clock.advance(after)
        return await self.reconcile(HELPDESK, epoch=epoch)

    def command(self, request_id: str, *, validate_only: bool = False, **changes: str) -> RolloutCommand:
        write = writing(request_id, validate_only=validate_only)
        return RolloutCommand(deployment="helpdesk", write=write, **changes)


def crud_of(harness: RolloutHarness) -> DeploymentCrud:
    resolve = ResolveConfiguration(
        prompts=harness.harness.prompts,
        models=harness.harness.registry,
        retriever=harness.harness.rag,
        candidates=harness.registry,
    )
    return DeploymentCrud(
        deployments=harness.harness.deployments,
        resolve=resolve,
        outcomes=harness.outcomes,
        metrics=harness.declared,
        clock=harness.harness.clock,
    )
