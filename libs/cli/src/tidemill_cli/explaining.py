"""explain: who had an answer, a refusal or a promotion made, by which rule, and on which figures."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Group

from tidemill_cli.options import Commands
from tidemill_cli.output import call, card, show
from tidemill_client.explanations import Explanation, Explanations

explain = Commands(help="Who had an answer, a refusal or a promotion made, and why.")


@explain.command("answer")
def explain_answer(inference: Annotated[str, typer.Argument(help="The id of the answer (`x-request-id`).")]) -> None:
    """Explain an answer, or why there is none."""
    _show(call(lambda c: Explanations(c).answer(inference)))


@explain.command("refusal")
def explain_refusal(
    trace: Annotated[str, typer.Argument(help="The trace id of the error, or the id of the audit record.")],
) -> None:
    """Explain a call that was refused. Only audited calls have a record; reading them needs the role admin."""
    _show(call(lambda c: Explanations(c).refusal(trace)))


@explain.command("promotion")
def explain_promotion(deployment: Annotated[str, typer.Argument(help="The deployment, for example helpdesk.")]) -> None:
    """Explain the last rollout of a deployment."""
    _show(call(lambda c: Explanations(c).promotion(deployment)))


def _show(found: Explanation) -> None:
    parts = asdict(found)
    show(parts, Group(*[card(facts, title=name) for name, facts in parts.items() if facts]))
