"""rollouts: list, show, approve, promote and roll back."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from tidemill.inference.v1.deployment_pb2 import Deployment
from tidemill.inference.v1.deployment_service_pb2 import GetDeploymentRequest, ListDeploymentsRequest
from tidemill.inference.v1.rollout_pb2 import (
    AbortRules,
    DifferenceBounds,
    MetricCounts,
    Rollout,
    RolloutPolicy,
    RolloutState,
    RolloutStep,
    StepCounts,
)
from tidemill_cli.loop.stages import abort_rules, rollout_stage
from tidemill_cli.options import Commands
from tidemill_cli.output import call, card, moment, plain, show, table, word
from tidemill_cli.pages import SizeOption, TokenOption, show_page
from tidemill_client.rollouts import Rollouts

rollouts = Commands(help="Progressive delivery of candidates: list, show, approve, promote, roll back.")

DeploymentArgument = Annotated[str, typer.Argument(help="The deployment, for example helpdesk.")]
RolloutOption = Annotated[str, typer.Option("--rollout", help="The rollout's id; default: the active one.")]
WhyOption = Annotated[str, typer.Option("--rationale", "-m", help="Reason, recorded with the decision.")]


@rollouts.command("list")
def list_rollouts(*, size: SizeOption = 50, token: TokenOption = "") -> None:
    """List deployments with their active or latest rollout."""
    request = ListDeploymentsRequest(page_size=size, page_token=token)
    page = call(lambda c: c.deployments.ListDeployments(request))
    found = [d for d in page.deployments if d.HasField("rollout_policy") or d.rollout.id]
    rows = [(d.id, _gates(d.rollout_policy), d.live.model, d.rollout.id or "-", rollout_stage(d).says) for d in found]
    picture = table(("deployment", "gate", "live", "rollout", "status"), rows)
    show_page("deployments", found, page.next_page_token, picture)


@rollouts.command("show")
def show_rollout(name: DeploymentArgument) -> None:
    """Show a deployment's rollout, its steps, and the outcomes of the current step."""
    _show(call(lambda c: c.deployments.GetDeployment(GetDeploymentRequest(id=name))).deployment)


@rollouts.command("timeline")
def timeline(name: DeploymentArgument, *, rollout: RolloutOption = "") -> None:
    """Show a rollout's timeline, from the dataset version to the promotion."""
    found = call(lambda c: Rollouts(c).timeline(name, rollout=rollout))
    rows = [(moment(entry.time), entry.event, entry.message) for entry in found.entries]
    cut = ["[dim]truncated, oldest entries omitted: use --rollout[/]"] if found.cut else []
    show(plain(found), Group(table(("time", "event", ""), rows), *cut))


def _decision(command: str, sentence: str, decide: Callable[[Rollouts], Callable[..., Awaitable[Deployment]]]) -> None:
    """Add the command of a decision on a rollout."""

    @rollouts.command(command, help=sentence)
    def decided(
        name: DeploymentArgument,
        *,
        rollout: RolloutOption = "",
        rationale: WhyOption = "",
    ) -> None:
        _show(call(lambda c: decide(Rollouts(c))(name, rollout=rollout, rationale=rationale)))


_decision("approve", "Approve the active rollout.", lambda r: r.approve)
_decision("promote", "Promote the candidate now. Its gate must have passed.", lambda r: r.promote)
_decision("roll-back", "Roll back to the baseline, also after a promotion.", lambda r: r.roll_back)


def _show(deployment: Deployment) -> None:
    rollout, policy = deployment.rollout, deployment.rollout_policy
    facts = {
        "deployment": deployment.id,
        "live": deployment.live.model,
        "follows": deployment.follow,
        "gate": policy.gate,
        "index gate": policy.index_gate,
        "prompt gate": policy.prompt_gate,
        "rollout": rollout.id,
        "state": word(RolloutState, rollout.state) if rollout.id else "",
        "where it is": rollout_stage(deployment).says,
        "candidate": rollout.candidate.model,
        "index": f"{rollout.index.number} of {rollout.index.collection}" if rollout.HasField("index") else "",
        "prompt": f"{rollout.candidate.prompt}, before {rollout.prompt.before}" if rollout.HasField("prompt") else "",
        "evaluation": rollout.evaluation,
        "approvals": f"{len(rollout.approvals)} of {policy.approval.count}" if policy.approval.count else "",
        "began": moment(rollout.start_time),
        "ended": moment(rollout.finish_time),
        **_outcomes(rollout.counts),
        **_metrics(rollout.counts, abort_rules(deployment)),
    }
    ended = rollout.HasField("finish_time")
    rows = [
        ("->" if rollout.id and not ended and number == rollout.step else "", *_step(step))
        for number, step in enumerate(rollout.steps or policy.steps)
    ]
    steps: list[RenderableType] = (
        ["", table(("", "step", "requests", "of the candidate", "at most"), rows)] if rows else []
    )
    picture = Group(card({name: value for name, value in facts.items() if value}), *steps, *_approvals(rollout))
    show(plain(deployment), picture)


def _gates(policy: RolloutPolicy) -> str:
    return ", ".join(filter(None, (policy.gate, policy.index_gate, policy.prompt_gate)))


def _approvals(rollout: Rollout) -> list[RenderableType]:
    rows = [(given.approver, moment(given.approve_time), given.rationale) for given in rollout.approvals]
    return ["", table(("approved by", "when", "why"), rows)] if rows else []


def _step(step: RolloutStep) -> tuple[str, ...]:
    share = "shadow" if step.shadow else f"canary {step.weight} %"
    limit = str(step.at_most.ToTimedelta()) if step.HasField("at_most") else "-"
    return share, str(step.requests), f"at least {step.at_least}" if step.at_least else "-", limit


def _outcomes(counts: StepCounts) -> dict[str, str]:
    """Return the current step's outcomes, candidate / baseline."""
    ratings = [
        f"{counts.candidate_rating:.3f}" if counts.HasField("candidate_rating") else "-",
        f"{counts.baseline_rating:.3f}" if counts.HasField("baseline_rating") else "-",
    ]
    times = [f"{span.ToTimedelta().total_seconds():.2f} s" for span in (counts.candidate_p95, counts.baseline_p95)]
    if not counts.requests:
        return {}
    return {
        "failed answers": f"{counts.candidate_failures} of the candidate, {counts.baseline_failures} of the baseline"
        + _bounds(counts, "failure_difference"),
        "95 % within": f"{times[0]} / {times[1]}{_ratio(counts)}",
        "rating": f"{ratings[0]} / {ratings[1]}{_bounds(counts, 'rating_difference')}" if ratings != ["-", "-"] else "",
    }


def _bounds(counts: StepCounts | MetricCounts, name: str) -> str:
    """Return the bounds of a difference, which hold however often they are read; "" where they are not known."""
    if not counts.HasField(name):  # type: ignore[arg-type] # a field of either
        return ""
    bounds: DifferenceBounds = getattr(counts, name)
    return f", difference {bounds.low:+.2f} to {bounds.high:+.2f}"


def _ratio(counts: StepCounts) -> str:
    """Return the bounds of the ratio of medians; "" where they are not known."""
    bounds = counts.latency_ratio
    if not counts.HasField("latency_ratio"):
        return ""
    high = f" to {bounds.high:.2f}" if bounds.HasField("high") else " or more"
    return f", ratio of medians {bounds.low:.2f}{high}"


def _metrics(counts: StepCounts, rules: AbortRules) -> dict[str, str]:
    """Return the mean scores by declared metric, candidate / baseline, with how many values they rest on."""
    needed = {rule.metric: rule.at_least for rule in rules.metrics}
    return {f"metric {each.metric}": _values(each, needed.get(each.metric, 0)) for each in counts.metrics}


def _values(counts: MetricCounts, needed: int) -> str:
    sides = counts.candidate, counts.baseline
    means = " / ".join(f"{each.mean:.3f}" if each.HasField("mean") else "-" for each in sides)
    numbers = " / ".join(f"{each.number:.3g}" for each in sides)
    immature = counts.candidate.immature + counts.baseline.immature
    notes = [f"of {numbers} values"]
    notes += [f"{needed} are needed"] if needed else []
    notes += [f"{immature} immature"] if immature else []
    return f"{means} {', '.join(notes)}{_bounds(counts, 'difference')}"
