"""The `tidemill` command.

Exit codes: 0 done, 1 an error, 2 differences (diff, apply --dry-run, datasets diff) or wrong usage, 69 a service does
not answer, 130 interrupted.
"""

import typer

from tidemill_client.cli.lazy import LazyGroup

app = typer.Typer(
    name="tidemill",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold prompts and secrets
    add_completion=True,
)


@app.callback()
def tidemill() -> None:
    """Documents in, grounded answers out, reactions back: the Tidemill platform from a terminal."""


def main() -> None:
    """Run the command."""
    app()
