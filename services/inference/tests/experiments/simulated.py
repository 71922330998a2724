"""Simulated experiments: users who come one after another, until there is a best arm or no more come."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from tidemill_inference.deployments.domain.configuration import Configuration, Sampling
from tidemill_inference.experiments.domain.comparison import counted
from tidemill_inference.experiments.domain.experiment import Experiment
from tidemill_inference.experiments.domain.plan import Arm, Measured, Weighting
from tidemill_inference.experiments.domain.run import EndReason, RunArm
from tidemill_inference.rollouts.domain.step_counts import Outcome
from tidemill_inference.rollouts.domain.values import GivenValue
from tidemill_testkit.clocks import NOON


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What came of one experiment: its best arm, and how many users each arm had, until then and until all had come."""

    best: str
    until_best: Sequence[int]
    users: Sequence[int]


def run(likes: Sequence[float], *, users: int, seed: int, adaptive: bool, check_every: int = 50) -> Ended:
    """Simulate one: an arm is liked by these shares of its users. All of them come, whatever is shown before."""
    chance = Random(seed)  # noqa: S311 - no secret
    experiment = _experiment(len(likes), seed, adaptive=adaptive)
    outcomes = list[Outcome]()
    numbers, until_best, best = [0] * len(likes), [0] * len(likes), ""
    divided = experiment.split()
    for number in range(users):
        user = f"{seed} {number}"
        arm = int(divided.arm_of(end_user=user, request_id="").name)
        numbers[arm] += 1
        until_best[arm] += not best
        if best:
            continue
        liked = GivenValue(metric="rating", score=float(chance.random() < likes[arm]), user=user)
        outcomes.append(
            Outcome(
                inference=user,
                rollout="sim@1",
                step=divided.epoch,
                variant=str(arm),
                failed=False,
                total_s=1.0,
                values=(liked,),
                user=user,
            )
        )
        if number % check_every == check_every - 1:
            best = _check(experiment, outcomes)
            divided = experiment.split()
    return Ended(best=best, until_best=until_best, users=numbers)


def _experiment(arms: int, seed: int, *, adaptive: bool) -> Experiment:
    names = [str(number) for number in range(arms)]
    experiment = Experiment(
        id=f"sim{seed}",
        project="acme",
        deployment="helpdesk",
        arms=tuple(Arm(name=name, control=name == "0") for name in names),
        goal=Measured(metric="rating"),
        weighting=Weighting.ADAPTIVE if adaptive else Weighting.FIXED,
        at_most=timedelta(days=1),
    )
    pinned = [
        RunArm(
            name=arm.name,
            weight=arm.weight,
            configuration=Configuration.of(
                model=f"m@{arm.name}", prompt="answer@1", retrieval=None, sampling=Sampling()
            ),
        )
        for arm in experiment.ordered
    ]
    experiment.start(pinned, now=NOON)
    return experiment


def _check(experiment: Experiment, outcomes: Sequence[Outcome]) -> str:
    run = experiment.run
    assert run is not None
    counts = counted(outcomes, run.names, goal=experiment.goal, guardrails=[], now=NOON)
    change = experiment.decide(counts, gone={}, now=NOON, max_answers=10**9)
    if change.reason is EndReason.BEST_ARM:
        return change.best
    experiment.reconcile(change, counts, seen=run, now=NOON)
    return ""
