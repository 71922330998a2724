"""The `tidemill` command.

Exit codes: 0 success, 1 error, 2 differences (diff, apply --dry-run, datasets diff), nothing to set (collections tune)
or wrong usage, 69 a service does not respond, 130 interrupted.
"""

import typer

from tidemill_cli.lazy import LazyGroup

app = typer.Typer(
    name="tidemill",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold prompts and secrets
    add_completion=True,
)


@app.callback()
def tidemill() -> None:
    """Command line of the Tidemill platform: documents, answers, feedback, training, evaluations and rollouts."""


def main() -> None:
    """Run the command."""
    app()
