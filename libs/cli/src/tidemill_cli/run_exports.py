"""Runs in the formats of other tools, and runs of these tools."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from tidemill.trainer.v1.training_pb2 import TrainingRun
from tidemill_cli.output import call, chosen_project, plain, show, stderr, writing
from tidemill_cli.run_history.mlflow_folder import write_mlflow
from tidemill_cli.run_history.mlflow_reading import read_mlflow
from tidemill_cli.run_history.reading import read_records
from tidemill_cli.run_history.records import RunRecord
from tidemill_cli.run_history.tensorboard_events import write_tensorboard
from tidemill_cli.training import RunArgument, show_found
from tidemill_client.connection import Connection
from tidemill_client.training import Training


class ExportFormat(Enum):
    """Tools whose format runs are exported in."""

    MLFLOW = "mlflow"
    TENSORBOARD = "tensorboard"


def export_runs(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs, or trials of a sweep as SWEEP/NUMBER.")],
    *,
    form: Annotated[ExportFormat, typer.Option("--format", "-f", help="Of which tool.")],
    to: Annotated[Path, typer.Option("--to", help="The folder: of MLflow's tracking store, or TensorBoard's logs.")],
) -> None:
    """Write runs in the format of another tool: settings, data, environment, curves and evaluations."""

    async def work(connection: Connection) -> list[str]:
        records, notice = await read_records(connection, names)
        if notice:
            stderr.print(escape(notice), highlight=False)
        with writing(to):
            return [str(_exported(record, form, to)) for record in records]

    written = call(work)
    show({"folders": written}, "\n".join(escape(folder) for folder in written))


def _exported(record: RunRecord, form: ExportFormat, to: Path) -> Path:
    if form is ExportFormat.MLFLOW:
        return write_mlflow(record, to, project=chosen_project())
    return write_tensorboard(record, to)


def import_run(
    folder: Annotated[Path, typer.Argument(help="The folder of one run, as mlruns/<experiment>/<run>.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it, and store nothing.")] = False,
) -> None:
    """Record a run of MLflow's file store: its parameters, metrics, tags and notes, without artifacts."""

    def say(left_out: str) -> None:
        stderr.print(escape(left_out), highlight=False)

    async def work(connection: Connection) -> TrainingRun:
        return await Training(connection).record(read_mlflow(folder, say=say), validate_only=dry_run)

    show_found(call(work))


def delete_run(name: RunArgument) -> None:
    """Delete an imported run; those that were trained here are kept."""
    found = call(lambda c: Training(c).delete(name))
    show(plain(found), escape(f"{name} is deleted"))
