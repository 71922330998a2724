"""Deployments with rollouts, and what came of their steps."""

from datetime import timedelta

from tidemill_core.approvals import Approval
from tidemill_inference.deployments.domain.configuration import Configuration, Sampling
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.rollouts.domain.changes import PassedEvaluation
from tidemill_inference.rollouts.domain.policy import RATING, AbortRules, RolloutPolicy, RolloutStep
from tidemill_inference.rollouts.domain.rollout import Decision, Move, Rollout
from tidemill_inference.rollouts.domain.step_counts import Outcome, StepCounts
from tidemill_inference.rollouts.domain.values import GivenValue
from tidemill_testkit.clocks import NOON

POLICY = RolloutPolicy(
    gate="helpdesk_gate",
    steps=(
        RolloutStep(shadow=True, requests=10),
        RolloutStep(weight=10, requests=40, at_least=4),
        RolloutStep(weight=50, requests=40, at_least=15, at_most=timedelta(hours=2)),
    ),
    abort=AbortRules(error_rate_above=0.02, latency_p95_ratio_above=1.5, rating_loss_above=0.02),
)


CONFIGURATION = Configuration.of(model="smollm2@1", prompt="answer@1", retrieval=None, sampling=Sampling())


def deployment(policy: RolloutPolicy | None = POLICY, *, follow: str = "lora") -> Deployment:
    spec = DeploymentSpec(model="smollm2", prompt="answer", follow=follow, rollout_policy=policy)
    return Deployment(id="helpdesk", project="acme", spec=spec, live=CONFIGURATION)


def passed(evaluation: str = "e1", **changes: str) -> PassedEvaluation:
    known = {"gate": "helpdesk_gate", "candidate": "lora@1", "baseline": CONFIGURATION.digest}
    return PassedEvaluation(evaluation=evaluation, baseline_index=0, **{**known, **changes})


def rolling(policy: RolloutPolicy = POLICY, *, step: int = 0) -> Deployment:
    """Return a deployment whose candidate is loaded and in a step."""
    made = deployment(policy)
    made.start_rollout(passed(), why_not="", now=NOON)
    assert made.rollout is not None
    made.begin_rollout(made.rollout.id, epoch=1, now=NOON)
    for _ in range(step):
        made.reconcile_rollout(Decision(move=Move.ADVANCE), StepCounts(), seen=made.rollout, now=NOON)
    made.pending.clear()
    return made


def rollout_of(made: Deployment) -> Rollout:
    assert made.rollout is not None
    return made.rollout


def approval(rater: str, why: str = "") -> Approval:
    return Approval(approver=rater, rationale=why, approve_time=NOON)


def outcomes(
    variant: str, count: int, *, failed: int = 0, seconds: float = 1.0, rating: float | None = None
) -> list[Outcome]:
    return [
        Outcome(
            inference=f"{variant}{number}",
            rollout="r",
            step=1,
            variant=variant,
            failed=number < failed,
            total_s=seconds,
            values=rated(rating),
        )
        for number in range(count)
    ]


def rated(score: float | None) -> tuple[GivenValue, ...]:
    return () if score is None else (GivenValue(metric=RATING, score=score),)


def counted(*found: list[Outcome], shadow: bool = False) -> StepCounts:
    return StepCounts.of([each for some in found for each in some], shadow=shadow)
