"""The `tidemill` command.

Exit codes: 0 done, 1 an error, 2 differences (diff, apply --dry-run) or wrong usage, 69 a service does not answer,
130 interrupted.
"""

import typer

from tidemill_client.cli import asking, demo, events, loops, resources, stack
from tidemill_client.cli.documents import documents

app = typer.Typer(
    name="tidemill",
    help="Documents in, grounded answers out, reactions back: the Tidemill platform from a terminal.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold prompts and secrets
    add_completion=True,
)
for command in (*stack.COMMANDS, *loops.COMMANDS, *asking.COMMANDS, *demo.COMMANDS):
    app.command()(command)
app.add_typer(documents, name="documents")
app.add_typer(resources.models, name="models")
app.add_typer(resources.prompts, name="prompts")
app.add_typer(resources.deployments, name="deployments")
app.add_typer(resources.inferences, name="inferences")
app.add_typer(events.events, name="events")
app.add_typer(events.dead_letters, name="dead-letters")


def main() -> None:
    """Run the command."""
    app()
