"""runs: the history of training runs, described, compared and exported."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.markup import escape

from tidemill.trainer.v1.training_pb2 import TrainingRun
from tidemill_cli.cluster_manifests import render_manifest
from tidemill_cli.options import Commands, labels_of
from tidemill_cli.output import call, show, table, writing
from tidemill_cli.pages import lists
from tidemill_cli.run_exports import delete_run, export_runs, import_run
from tidemill_cli.run_history.comparison import Comparison, compare, evaluation_rows, shown
from tidemill_cli.run_history.reading import read_records
from tidemill_cli.training import RUN_COLUMNS, RunArgument, list_runs, run_row, show_found, show_run
from tidemill_client.connection import Connection
from tidemill_client.training import Training
from tidemill_core.errors import Conflict

runs = Commands(help="The history of training runs: described, compared, exported and imported.")

MIN_COMPARED, MAX_COMPARED = 2, 20

_TRIES = 5
"""Changes of labels until a run that is being trained is met unchanged."""

lists(runs, "list", lambda c: c.training.ListTrainingRuns, RUN_COLUMNS, run_row)(list_runs)
runs.command("show")(show_run)
runs.command("export")(export_runs)
runs.command("import")(import_run)
runs.command("delete")(delete_run)
runs.command("manifest")(render_manifest)


@runs.command("note")
def note(name: RunArgument, text: Annotated[str, typer.Argument(help='The notes; "" removes them.')]) -> None:
    """Replace the notes of a run."""
    show_found(call(lambda c: Training(c).describe(name, notes=text)))


@runs.command("label")
def label(
    name: RunArgument,
    given: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="Labels; NAME= removes one.")],
) -> None:
    """Set labels of a run; its other labels stay."""
    changes = labels_of(given)

    async def work(connection: Connection) -> TrainingRun:
        for left in reversed(range(_TRIES)):
            found = await Training(connection).run(name)
            labels = {key: value for key, value in {**found.labels, **changes}.items() if value}
            try:
                return await Training(connection).describe(name, labels=labels, etag=found.etag)
            except Conflict:
                if not left:
                    raise
        raise AssertionError

    show_found(call(work))


@runs.command("compare")
def compare_runs(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs, or trials of a sweep as SWEEP/NUMBER.")],
    *,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with plots to this file.")] = None,
) -> None:
    """Compare runs: what differs in settings, data and environment, and how they did."""
    if not MIN_COMPARED <= len(names) <= MAX_COMPARED:
        message = f"names {len(names)} runs; name {MIN_COMPARED} to {MAX_COMPARED}"
        raise typer.BadParameter(message, param_hint="RUN")

    async def work(connection: Connection) -> Comparison:
        records, notice = await read_records(connection, names)
        return compare(records, notice=notice)

    comparison = call(work)
    if html is not None:
        _write_page(comparison, html)
    show(comparison.as_json(), _picture(comparison))


def _write_page(comparison: Comparison, path: Path) -> None:
    from tidemill_cli.run_history.page import comparison_page  # noqa: PLC0415 - with what draws, which takes a second

    with writing(path):
        path.write_text(comparison_page(comparison), encoding="utf-8")


def _picture(comparison: Comparison) -> Group:
    names = comparison.names
    parts: list[RenderableType] = [
        table(("", *names), [(name, *map(shown, values)) for name, values in comparison.figures], title="figures"),
        "",
        table(
            ("", "", *names),
            [(each.group, each.name, *map(shown, each.values)) for each in comparison.differences],
            title=f"what differs, {comparison.shared} more are the same",
        ),
    ]
    if rows := evaluation_rows(comparison.runs):
        parts += ["", table(("", *names), [(name, *values) for name, values in rows], title="evaluations")]
    if comparison.notice:
        parts += ["", escape(comparison.notice)]
    return Group(*parts)
