"""The name that products call, and what answers under it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from tidemill_core.aggregate import Event
from tidemill_core.approvals import Approval
from tidemill_inference.deployments.domain.choice import ChosenConfiguration
from tidemill_inference.deployments.domain.configuration import Configuration
from tidemill_inference.deployments.domain.experimenting import REMEMBERED, Experimenting
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.rollouts.domain.candidates import (
    answering,
    candidate_of,
    gate_of,
    may_follow,
    named_by,
    refusal,
    without,
)
from tidemill_inference.rollouts.domain.changes import PassedEvaluation
from tidemill_inference.rollouts.domain.errors import ApprovalsMissing, NoActiveRollout, RolloutNotFound
from tidemill_inference.rollouts.domain.rollout import (
    WAITS,
    Decision,
    Move,
    Rollout,
    RolloutHasAdvanced,
    RolloutHasStarted,
    RolloutState,
    RolloutWasPromoted,
    RolloutWasRefused,
    RolloutWasRolledBack,
    state_of,
    without_rationale,
)
from tidemill_inference.rollouts.domain.step_counts import CANDIDATE, LIVE, Reason, StepCounts
from tidemill_inference.routing.domain.policy import Routing, RoutingPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentWasConfigured(Event):
    """Another configuration answers from now on; `replaced` is the digest of the one before."""

    configuration: Configuration
    replaced: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentWasDeleted(Event):
    """Nothing answers under the name any more."""


@dataclass(slots=True, kw_only=True)
class Deployment(Experimenting):
    """A declared spec, the configuration that answers now, and the rollout that may change it.

    While `rollouts_paused`, no rollout begins its first step or advances; what has to be taken back, still is.
    """

    spec: DeploymentSpec
    evaluations: tuple[str, ...] = ()
    rollouts_paused: bool = False
    equals: Mapping[str, int] = field(default_factory=dict)
    """The `equal_models` of its routing as `model@version`, with their weights."""

    @property
    def resolved_routing(self) -> Routing:
        """How it comes to an answer."""
        return Routing(policy=self.spec.routing or RoutingPolicy(), equals=self.equals)

    def configure(
        self, spec: DeploymentSpec, live: Configuration, *, now: datetime, equals: Mapping[str, int] | None = None
    ) -> None:
        """Take a new spec with its references resolved; only another configuration is an event.

        A candidate was compared with what is live: with another configuration, and where its model is followed or a
        policy is there no longer, its rollout ends.
        """
        replaced = self.live.digest
        self.spec, self.live, self.equals = spec, live, equals or {}
        if live.digest != replaced:
            self._configured(replaced=replaced, now=now)
        if (rollout := self.active_rollout) is None:
            return
        if live.digest != rollout.baseline:
            text = "another configuration was applied: the candidate has to be compared with it"
            self._taken_back(rollout, Reason.BASELINE_CHANGED, text, now=now)
        elif spec.rollout_policy is None or not may_follow(spec, rollout):
            text = "the deployment follows the model, index or prompt, or has the policy no longer"
            self._taken_back(rollout, Reason.BY_HAND, text, now=now)

    def pause_rollouts(self, *, paused: bool, now: datetime) -> None:
        """Pause rollouts, or let them go on: a pause is no time of a step, which begins anew when it ends."""
        if self.rollouts_paused and not paused and (rollout := self.active_rollout):
            self.rollout = replace(rollout, step_time=now)
        self.rollouts_paused = paused

    def announce(self, *, now: datetime) -> None:
        """Say that a new deployment answers."""
        self._configured(replaced="", now=now)

    def delete(self, *, now: datetime) -> None:
        """Stop answering."""
        self.end_deleted(now=now)
        self.deleted = True
        self.pending.append(DeploymentWasDeleted(occurred_at=now))

    def choose(self, *, end_user: str = "", request_id: str = "", conversation: str = "") -> ChosenConfiguration:
        """Return what answers one live request."""
        if self.experiment:
            return self.experiment.choose(end_user=end_user, request_id=request_id, conversation=conversation)
        rollout = self.active_rollout
        if rollout is None or not rollout.ready:
            return ChosenConfiguration(variant=LIVE, configuration=self.live)
        candidate = rollout.gives_candidate(end_user=end_user, request_id=request_id)
        return ChosenConfiguration(
            variant=CANDIDATE if candidate else LIVE,
            configuration=rollout.candidate if candidate else self.live,
            rollout=rollout.id,
            step=rollout.step,
            shadowed=rollout.current.shadow,
            searches_anew=rollout.index is not None,
            prompts_differ=rollout.prompt is not None,
        )

    def shadowing(self, rollout_id: str) -> ChosenConfiguration:
        """Return what answers the copy of a question in a shadow step.

        Raises:
            NoActiveRollout: the step, or the rollout, is over.

        """
        rollout = self.active_rollout
        if rollout is None or rollout.id != rollout_id or not rollout.current.shadow:
            raise NoActiveRollout(self.id, missing="nothing is shadowed any more")
        return ChosenConfiguration(
            variant=CANDIDATE,
            configuration=rollout.candidate,
            rollout=rollout.id,
            step=rollout.step,
            searches_anew=rollout.index is not None,
            prompts_differ=rollout.prompt is not None,
        )

    def start_rollout(
        self,
        passed: PassedEvaluation,
        *,
        why_not: str,
        now: datetime,
        authors: Collection[str] = (),
        live_index: int = 0,
    ) -> None:
        """Start a rollout of a candidate, or return why not; evaluations of other gates are ignored.

        `why_not` says why the candidate's version cannot serve; "" if it can. `authors` are those of the version.
        `live_index` is what is live of the collection, where the candidate is an index version.
        """
        policy = self.spec.rollout_policy
        if passed.evaluation in self.evaluations or (policy and gate_of(policy, passed) != passed.gate):
            return
        self.evaluations = (*self.evaluations, passed.evaluation)[-REMEMBERED:]
        candidate = candidate_of(self.live, passed)
        named = named_by(passed, candidate, project=self.project, deployment=self.id, now=now)
        refused = refusal(
            self.spec,
            self.live,
            self.rollout,
            passed,
            why_not=why_not,
            live_index=live_index,
            experiment=self.experiment,
        )
        if refused or policy is None:
            reason, message = refused or (Reason.NO_POLICY, "")
            self.pending.append(RolloutWasRefused(reason=reason, message=message, **named))
            return
        self.rollout = Rollout(
            id=named["rollout"],
            evaluation=passed.evaluation,
            baseline=passed.baseline,
            baseline_model=self.live.model,
            candidate=candidate,
            policy=policy,
            state=state_of(policy.steps[0]),
            start_time=now,
            step_time=now,
            message=WAITS,
            authors=tuple(sorted({*authors, passed.requester} - {""})),
            index=passed.index_change(before=live_index),
            prompt=passed.prompt_change(before=self.live.prompt),
        )
        self.pending.append(RolloutHasStarted(baseline=passed.baseline, **named))

    def delay_rollout(self, rollout_id: str, *, epoch: int, why: str) -> None:
        """Say what keeps the candidate from being loaded.

        Raises:
            RolloutLeaseLost: a later holder of the lease was there.

        """
        rollout = self.active_rollout
        if rollout and rollout.id == rollout_id:
            self.rollout = rollout.at(epoch).waiting(why)

    def begin_rollout(self, rollout_id: str, *, epoch: int, now: datetime) -> None:
        """Let the first step begin, unless rollouts are paused by now: the candidate is loaded.

        Raises:
            RolloutLeaseLost: a later holder of the lease was there.

        """
        rollout = self.active_rollout
        if rollout and rollout.id == rollout_id and not self.rollouts_paused:
            self.rollout = rollout.at(epoch).begun(now=now)

    def reconcile_rollout(self, decision: Decision, counts: StepCounts, *, seen: Rollout, now: datetime) -> None:
        """Do what was decided on the rollout as it was `seen`, unless it moved on, or was paused, meanwhile.

        Raises:
            RolloutLeaseLost: a later holder of the lease was there.

        """
        rollout = self.active_rollout
        if rollout is None or rollout.id != seen.id:
            return
        rollout = rollout.at(seen.epoch)
        if (rollout.step, rollout.hold, rollout.approvals) != (seen.step, seen.hold, seen.approvals):
            return
        if self.rollouts_paused and not decision.urgent:
            return
        reason = decision.reason or Reason.BY_HAND
        match decision.move:
            case Move.STAY:
                self.rollout = rollout
            case Move.PROMOTE:
                self._promoted(rollout, reason, decision.message, counts=counts, now=now)
            case Move.ROLL_BACK:
                self._taken_back(rollout, reason, decision.message, counts=counts, now=now)
            case _:
                self.rollout = rollout.moved(decision, counts, now=now)
                self._advanced(self.rollout, now=now)

    def finish_index(self, rollout_id: str, number: int, *, epoch: int) -> None:
        """Record that rag has made live what a rollout decided; what was decided since is still to be done.

        Raises:
            RolloutLeaseLost: a later holder of the lease was there.

        """
        rollout = self.rollout
        if rollout and rollout.id == rollout_id and rollout.index and rollout.index.pending == number:
            self.rollout = rollout.at(epoch).making_live(0)

    def fail_index(  # noqa: PLR0913 - which, and why
        self, rollout_id: str, number: int, *, reason: Reason, message: str, epoch: int, now: datetime
    ) -> None:
        """End a rollout whose index version cannot be made live: what is live goes on.

        One that cannot be rolled back, as rag has the version before no more, stays promoted. Raises as `finish_index`.
        """
        rollout = self.rollout
        if not (rollout and rollout.id == rollout_id and (change := rollout.index) and change.pending == number):
            return
        rollout = rollout.at(epoch)
        if rollout.state is not RolloutState.ROLLED_BACK:
            self._taken_back(rollout.making_live(0), reason, message, now=now)
        elif reason is Reason.INDEX_NOT_READY:
            self._promoted(rollout, reason, message, counts=rollout.counts, now=now)
            self.finish_index(rollout_id, change.number, epoch=epoch)
        else:
            self.rollout = replace(rollout.making_live(0), message=f"{rollout.message}; {message}")

    def promote_rollout(
        self, rollout_id: str, *, message: str, counts: StepCounts, now: datetime, by: str = ""
    ) -> None:
        """Make the candidate live now, by hand.

        Raises:
            RolloutNotFound: the active rollout is another one.
            NoActiveRollout: no candidate has passed the gate, or the rollout has ended.
            ApprovalsMissing: approvals are missing.

        """
        rollout = self._open(rollout_id)
        if rollout.missing_approvals:
            given = len(rollout.counted_approvals)
            raise ApprovalsMissing(rollout.id, given=given, requested=rollout.policy.approvals)
        self._promoted(rollout, Reason.BY_HAND, message, counts=counts, now=now, by=by)

    def approve_rollout(self, rollout_id: str, approval: Approval, *, authors: Collection[str] = ()) -> None:
        """Agree to the promotion of what these and earlier known authors made.

        Raises:
            RolloutNotFound: the rollout is another one.
            NoActiveRollout: there is nothing to agree to.

        """
        self.rollout = self._open(rollout_id).approved(approval, authors)

    def roll_back_rollout(
        self, rollout_id: str, *, message: str, counts: StepCounts, now: datetime, by: str = ""
    ) -> None:
        """Take the candidate back, also after it was promoted: then the model before answers again.

        Raises:
            RolloutNotFound: the rollout is another one.
            NoActiveRollout: nothing can be taken back.

        """
        rollout = self._named(rollout_id)
        if rollout is None or rollout.state is RolloutState.ROLLED_BACK:
            raise NoActiveRollout(self.id, missing="there is nothing to take back")
        if rollout.active:
            self._taken_back(rollout, Reason.BY_HAND, message, counts=counts, now=now, by=by)
            return
        if rollout.index:
            self._taken_back(rollout.making_live(rollout.index.before), Reason.BY_HAND, message, now=now, by=by)
            return
        by_now, promoted = answering(rollout, self.live), answering(rollout, rollout.candidate)
        if by_now != promoted:
            raise NoActiveRollout(self.id, missing=f"{by_now} answers by now, and not {promoted}, which was promoted")
        replaced = self.live.digest
        self.live = without(rollout, self.live)
        self._taken_back(rollout, Reason.BY_HAND, message, now=now, by=by)
        self._configured(replaced=replaced, now=now)

    def _named(self, rollout_id: str) -> Rollout | None:
        last = self.rollout.id if self.rollout else ""
        if rollout_id and rollout_id != last:
            raise RolloutNotFound(rollout_id, deployment=self.id, last=last)
        return self.rollout

    def _open(self, rollout_id: str) -> Rollout:
        rollout = self._named(rollout_id)
        if rollout and rollout.active:
            return rollout
        policy = self.spec.rollout_policy
        gate = f"gate {policy.gates}" if policy else "the gate of a rollout policy, and the policy itself"
        ended = f"the last one was {rollout.state.name.lower()}; " if rollout else ""
        raise NoActiveRollout(self.id, missing=f"{ended}missing is an evaluation that has passed {gate}")

    def _promoted(  # noqa: PLR0913 - the decision with all that it was made on
        self, rollout: Rollout, reason: Reason, message: str, *, counts: StepCounts, now: datetime, by: str = ""
    ) -> None:
        replaced = self.live.digest
        if rollout.index:  # what is live of the collection is followed: the reconciler asks rag to change that
            rollout = rollout.making_live(rollout.index.number)
        else:
            self.live = rollout.candidate
        self.rollout = rollout.ended(RolloutState.PROMOTED, message=message, now=now, counts=counts, decided_by=by)
        self.pending.append(
            RolloutWasPromoted(
                reason=reason,
                message=without_rationale(reason, message),
                replaced=replaced,
                approvals=rollout.counted_approvals,
                decided_by=by,
                **rollout.named(now),
            )
        )
        if self.live.digest != replaced:
            self._configured(replaced=replaced, now=now)

    def _taken_back(  # noqa: PLR0913 - the decision with all that it was made on
        self,
        rollout: Rollout,
        reason: Reason,
        message: str,
        *,
        now: datetime,
        counts: StepCounts | None = None,
        by: str = "",
    ) -> None:
        text = f"{reason.value}: {message}"
        self.rollout = rollout.ended(RolloutState.ROLLED_BACK, message=text, now=now, counts=counts, decided_by=by)
        reported = without_rationale(reason, message)
        self.pending.append(RolloutWasRolledBack(reason=reason, message=reported, **rollout.named(now)))
        if reason is Reason.BASELINE_CHANGED:  # its evaluation does not hold any more: it is repeated
            self.pending.append(RolloutWasRefused(reason=reason, message=reported, **rollout.named(now)))

    def _advanced(self, rollout: Rollout, *, now: datetime) -> None:
        self.pending.append(
            RolloutHasAdvanced(
                state=rollout.state,
                step=rollout.step,
                weight=rollout.current.weight,
                message=rollout.message,
                **rollout.named(now),
            )
        )

    def _configured(self, *, replaced: str, now: datetime) -> None:
        self.pending.append(DeploymentWasConfigured(occurred_at=now, configuration=self.live, replaced=replaced))
        self.end_outdated(now=now)
