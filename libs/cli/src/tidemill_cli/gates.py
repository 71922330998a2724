"""gates: what a candidate has to show, and how probably its cases show it."""

from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.markup import escape

from tidemill.evaluator.v1.evaluation_pb2 import Gate, RequirementPower
from tidemill.evaluator.v1.evaluation_service_pb2 import GetGatePowerResponse, ListGatesRequest
from tidemill_cli.loop.durations import span_of
from tidemill_cli.options import Commands
from tidemill_cli.output import call, plain, show, table
from tidemill_cli.pages import lists
from tidemill_client.connection import Connection
from tidemill_client.evaluations import Evaluations
from tidemill_core.errors import TidemillError

gates = Commands(help="What candidates have to show before they are rolled out.")


@lists(
    gates,
    "list",
    lambda c: c.evaluations.ListGates,
    ("gate", "deployment", "candidates of", "requires", "again", "paused"),
    lambda g: (
        g.id,
        g.deployment,
        _followed(g),
        len(g.require),
        _again(g),
        "yes" if g.paused else "",
    ),
)
def list_gates() -> ListGatesRequest:
    """List the project's gates."""
    return ListGatesRequest()


def _again(gate: Gate) -> str:
    """Return when what it has let go live is evaluated again."""
    every = span_of(gate.reevaluate.every)
    found = [f"every {every}" if every else "", "on a provider's change" if gate.reevaluate.on_provider_change else ""]
    return ", ".join(filter(None, found))


def _followed(gate: Gate) -> str:
    """Return whose versions are its candidates."""
    return f"prompt {gate.candidate_prompt}" if gate.candidate_prompt else gate.collection or gate.candidate


@gates.command("power")
def show_power(
    name: Annotated[str, typer.Argument(help="The gate.")],
    *,
    gain: Annotated[
        float, typer.Option(min=-0.99, max=0.99, help="The mean difference that is to be found; default: 0.05.")
    ] = 0.0,
) -> None:
    """Say how probably a gate finds a gain with its cases, and how many would do."""
    found = call(lambda c: Evaluations(c).power(name, gain=gain))
    show(plain(found), _picture(found))


async def power_lines(connection: Connection, names: Iterable[str]) -> Sequence[str]:
    """Return what each requirement of these gates finds, a line each."""
    lines = []
    for name in names:
        try:
            found = await Evaluations(connection).power(name)
        except TidemillError as error:
            lines.append(f"gate {name}: what it finds is not known: {error.message}")
        else:
            lines += [f"gate {name}: {requirement_line(each, found.power)}" for each in found.requirements]
    return lines


def _picture(found: GetGatePowerResponse) -> RenderableType:
    columns = ("cases", "metric", "above", "questions", "deviation", "finds", "gain", "with", "needs")
    rows = [_row(each) for each in found.requirements]
    assumed = [each.case_set for each in found.requirements if each.HasField("power") and not each.evaluation]
    notes = [f"{each.metric} on {each.case_set}: {each.message}" for each in found.requirements if each.message]
    if any(0 < each.clusters < each.questions for each in found.requirements):
        notes.append("`60 in 20` are 60 questions in 20 clusters, by the gate's cluster_by: each is one observation")
    if assumed:
        notes.append(
            "deviations are assumed until an evaluation of this gate has 20 independent answers, not all alike"
        )
    notes += _together(found)
    text = f"`finds` and `needs` are for a probability of {found.power:.0%}, `with` is that of finding `gain`"
    return Group(table(columns, rows), "", escape("\n".join([text, *notes])))


def _together(found: GetGatePowerResponse) -> list[str]:
    """Return how probably all requirements hold together, which they have to: within bounds, as they share answers."""
    powers = [each.power for each in found.requirements if each.HasField("power")]
    if len(powers) < len(found.requirements) or len(powers) < 2:  # noqa: PLR2004 - one has its own line
        return []
    low, high, gain = max(0.0, sum(powers) - len(powers) + 1), min(powers), found.requirements[0].gain
    return [f"a candidate that gains {gain:g} in each meets these requirements with {low:.0%} to {high:.0%}"]


def _row(each: RequirementPower) -> tuple[object, ...]:
    known = each.HasField("power")
    return (
        each.case_set,
        each.metric,
        f"{each.gain_above:+g}",
        _questions(each) if known else "-",
        f"{each.deviation:.2f}" if known else "-",
        f"{each.detectable_gain:+.2f}" if each.HasField("detectable_gain") else "-",
        f"{each.gain:+g}",
        f"{each.power:.0%}" if known else "-",
        each.needed_questions or "-",
    )


def _questions(each: RequirementPower) -> str:
    """Return how many questions there are, and in how many clusters where these are fewer."""
    return f"{each.questions} in {each.clusters}" if 0 < each.clusters < each.questions else str(each.questions)


def _counted(each: RequirementPower) -> str:
    clusters = f" in {each.clusters} clusters" if 0 < each.clusters < each.questions else ""
    return f"{each.questions} questions{clusters}"


def requirement_line(each: RequirementPower, power: float) -> str:
    """Return what a requirement finds, in a line."""
    where = f"{each.metric} on {each.case_set}"
    if not each.HasField("power"):
        return f"{where}: {each.message}"
    finds = (
        f"finds a gain of {each.detectable_gain:.2g} with {power:.0%}"
        if each.HasField("detectable_gain")
        else "finds no gain"
    )
    needs = f", {each.needed_questions} would find {each.gain:g}" if each.needed_questions > each.questions else ""
    if not each.needed_questions:
        needs = f", no number would find {each.gain:g} above {each.gain_above:g}"
    note = each.message or ("" if each.evaluation else "deviation assumed")
    return f"{where}: {finds} of {_counted(each)}{needs}" + (f" ({note})" if note else "")
