"""batches: run, list, show, cancel, and fetch results."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.progress import Progress, TaskID

from tidemill.inference.v1.batch_pb2 import BATCH_STATE_COMPLETED, Batch, BatchState
from tidemill.inference.v1.batch_service_pb2 import ListBatchesRequest
from tidemill_cli.batch_runs import BatchRun, Outputs, Watching
from tidemill_cli.loop.shapes import Duration
from tidemill_cli.options import Commands, labels_of
from tidemill_cli.output import EXIT_ERROR, call, card, moment, plain, progress, show, stderr, word, written
from tidemill_cli.pages import lists
from tidemill_client.batches import ENDED, Batches
from tidemill_client.connection import Connection
from tidemill_client.stored_files import StoredFiles
from tidemill_core.errors import PreconditionFailed

batches = Commands(help="Many questions of a file: run, list, show, cancel, fetch results.")

BatchArgument = Annotated[str, typer.Argument(help="The batch's id, as `tidemill batches list` shows it.")]
_DURATION: TypeAdapter[timedelta] = TypeAdapter(Duration)


class NoResultsYet(PreconditionFailed):
    """A batch is not at its end, or has nothing of what was asked for."""

    reason = "NO_RESULTS_YET"


def _window(given: str) -> timedelta:
    try:
        return _DURATION.validate_python(given)
    except ValidationError:
        message = f"{given[:20]!r} must be a whole number and a unit: 90m, 24h or 7d"
        raise typer.BadParameter(message) from None


@batches.command("run")
def run_batch(
    file: Annotated[Path, typer.Argument(help="JSON lines, a request each: custom_id, method, url and body.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file of results; default: FILE.results.jsonl. Errors go beside it."),
    ] = None,
    window: Annotated[
        timedelta, typer.Option("--window", parser=_window, help="What has no answer by then is an error.")
    ] = "24h",  # type: ignore[assignment] # typer gives defaults to the parser too
    labels: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="A label of the batch, name=value; repeatable.")
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Begin another batch, also where an interrupted one can go on.")
    ] = False,
) -> None:
    """Have each line of a file answered, and write results and errors.

    Interrupted, the batch goes on, and the same command without --anew waits for it again. Exit 1 if a request or the
    batch failed.
    """
    asked = BatchRun(
        file=file, outputs=Outputs.of(file, output), window=window, labels=labels_of(labels or []), anew=anew
    )

    async def work(connection: Connection) -> Batch:
        with progress() as bar:
            return await asked(connection, _watching(bar, bar.add_task("uploading", total=None)))

    batch = call(work)
    paths = {"results": asked.outputs.results, "errors": asked.outputs.errors}
    files = {"results": batch.output_file, "errors": batch.error_file}
    there = {name: str(path) for name, path in paths.items() if files[name]}
    show({"batch": plain(batch), "results": "", "errors": "", **there}, card({**_facts(batch), **there}))
    if batch.state != BATCH_STATE_COMPLETED or batch.failed:
        raise typer.Exit(EXIT_ERROR)


def _watching(bar: Progress, task: TaskID) -> Watching:
    announced: list[str] = []

    def advance(batch: Batch) -> None:
        if not announced and stderr.is_terminal:
            announced.append(batch.id)
            again = "the same command without --anew waits for it again"
            stderr.print(f"{batch.id} goes on if this is interrupted; {again}")
        done = batch.completed + batch.failed
        failed = f", {batch.failed} failed" if batch.failed else ""
        bar.update(
            task, description=f"{word(BatchState, batch.state)}{failed}", completed=done, total=batch.total or None
        )

    return Watching(upload=lambda sent: bar.update(task, description=f"uploading, {sent / 1e6:.1f} MB"), batch=advance)


@lists(
    batches,
    "list",
    lambda c: c.batches.ListBatches,
    ("batch", "endpoint", "state", "answered", "failed", "of", "began", "ended"),
    lambda b: (
        b.id,
        b.endpoint,
        word(BatchState, b.state),
        b.completed,
        b.failed,
        b.total,
        moment(b.create_time),
        moment(b.finish_time),
    ),
)
def list_batches() -> ListBatchesRequest:
    """List the project's batches."""
    return ListBatchesRequest()


@batches.command("show")
def show_batch(batch: BatchArgument) -> None:
    """Show a batch: how far it is, and its files."""
    found = call(lambda c: Batches(c).get(batch))
    show(plain(found), card(_facts(found)))


@batches.command("cancel")
def cancel(batch: BatchArgument) -> None:
    """End a batch early. Requests in progress are finished, and results of what is done are written."""
    found = call(lambda c: Batches(c).cancel(batch))
    show(plain(found), card(_facts(found)))


@batches.command("results")
def results(
    batch: BatchArgument,
    *,
    errors: Annotated[bool, typer.Option("--errors", help="The errors instead of the results.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Output file; default: standard output.")
    ] = None,
) -> None:
    """Write the results of a batch at its end, or its errors, as JSON lines."""

    async def work(connection: Connection) -> int:
        found = await Batches(connection).get(batch)
        return await written(StoredFiles(connection).content(_file_of(found, errors=errors)), output)

    size = call(work)
    if output is not None:
        show({"file": str(output), "bytes": size}, f"{size} bytes written to {output}")


def _file_of(batch: Batch, *, errors: bool) -> str:
    if file := batch.error_file if errors else batch.output_file:
        return file
    if batch.state in ENDED:
        message = f"{batch.id} is {word(BatchState, batch.state)} and has no {'errors' if errors else 'results'}"
        message += f": {batch.reason}, {batch.message}" if batch.reason else "" if errors else ", see --errors"
    else:
        done = f"{batch.completed + batch.failed} of {batch.total}"
        message = f"{batch.id} is {word(BatchState, batch.state)} ({done}): results are written at its end"
    raise NoResultsYet(message, batch=batch.id)


def _facts(batch: Batch) -> dict[str, object]:
    facts: dict[str, object] = {
        "batch": batch.id,
        "state": word(BatchState, batch.state),
        "why": " ".join(part for part in (batch.reason, batch.message) if part),
        "endpoint": batch.endpoint,
        "answered": f"{batch.completed} of {batch.total}",
        "failed": batch.failed,
        "labels": ", ".join(f"{name}={value}" for name, value in sorted(batch.labels.items())),
        "by": batch.creator,
        "input file": batch.input_file,
        "output file": batch.output_file,
        "error file": batch.error_file,
        "began": moment(batch.create_time),
        "expires": "" if batch.state in ENDED else moment(batch.expire_time),
        "ended": moment(batch.finish_time),
    }
    return {name: value for name, value in facts.items() if value != ""}
