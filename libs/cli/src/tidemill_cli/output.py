"""Output of commands: tables and progress bars, or JSON; error messages and exit codes."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Table

from tidemill_cli.options import options
from tidemill_client.connection import Connection, current_project
from tidemill_client.enums import name_of
from tidemill_core.characters import printable
from tidemill_core.errors import DependencyUnavailable, InvalidInput, TidemillError

EXIT_ERROR = 1
EXIT_DIFFERENT = 2
EXIT_UNAVAILABLE = 69
"""EX_UNAVAILABLE of sysexits.h: the same command may succeed later."""
EXIT_INTERRUPTED = 130

_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters and line separators that `json.dumps` does not escape."""

T = TypeVar("T")


class SafeConsole(Console):
    """Replaces control characters in printed text: untrusted text must not control the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Return the segments; rich's own control codes are kept."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


stdout = SafeConsole()
stderr = SafeConsole(stderr=True)


def chosen_project() -> str:
    """Return the given project, or the one that was last used here.

    Raises:
        InvalidInput: there is none.

    """
    project = options().project or current_project()
    if not project:
        message = "no project: use --project NAME, or set TIDEMILL_PROJECT"
        raise InvalidInput(message)
    return project


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command; on an error, print its message and exit with its code."""
    try:
        return asyncio.run(work)
    except TidemillError as error:
        fail(error)
    except BaseExceptionGroup as group:
        first = first_error(group)
        if isinstance(first, TidemillError):
            fail(first)
        raise
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None


def call(work: Callable[[Connection], Awaitable[T]]) -> T:
    """Run work with a connection to the services of the chosen project, as `run` does."""

    async def connected() -> T:
        async with Connection(chosen_project()) as connection:
            return await work(connection)

    return run(connected())


def first_error(error: BaseException) -> BaseException:
    """Return the first error of an exception group, or the error itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def fail(error: TidemillError) -> NoReturn:
    """Print the error and exit."""
    if options().as_json:
        violations = error.violations if isinstance(error, InvalidInput) else ()
        fields = [{"field": violation.field, "description": violation.description} for violation in violations]
        print_json({"error": {"reason": error.reason, "message": error.message, "violations": fields}})
    else:
        stderr.print(f"[bold red]error[/]: {escape(error.message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(EXIT_UNAVAILABLE if isinstance(error, DependencyUnavailable) else EXIT_ERROR)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Translate errors of writing a file that the user named.

    Raises:
        InvalidInput: it cannot be written, and why.

    """
    try:
        yield
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}"
        raise InvalidInput(message) from error


async def written(pieces: AsyncIterator[bytes], output: Path | None) -> int:
    """Write to a file, whole or not at all, or to standard output; return the number of bytes.

    Raises:
        InvalidInput: the file cannot be written, and why.

    """
    size = 0
    if output is None:
        async for piece in pieces:
            size += sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return size
    partial = output.with_name(f"{output.name}.part")
    with writing(output):
        with partial.open("wb") as file:
            async for piece in pieces:
                size += file.write(piece)
        partial.replace(output)
    return size


def plain(message: Message) -> dict[str, Any]:
    """Return a message as JSON values, with the proto field names and including defaults."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def print_json(data: object) -> None:
    """Print one JSON document on one line."""
    text = json.dumps(data, ensure_ascii=False, default=str)
    text = _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def word(enum: Any, value: int) -> str:  # noqa: ANN401 - generated enums have no type in common
    """Return an enum value for display: `running` for TRAINING_RUN_STATE_RUNNING."""
    return name_of(enum, value).replace("_", " ")


def moment(stamp: Timestamp) -> str:
    """Return a timestamp in local time; "" if unset."""
    return f"{stamp.ToDatetime(tzinfo=UTC).astimezone():%Y-%m-%d %H:%M:%S}" if stamp.seconds else ""


def show(data: object, renderable: RenderableType) -> None:
    """Print the data as JSON, or the renderable."""
    if options().as_json:
        print_json(data)
    else:
        stdout.print(renderable)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "", one_line: bool = False
) -> Table:
    """Return a table; cells are never parsed as markup. `one_line` truncates long cells instead of wrapping them."""
    result = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        result.add_column(column, overflow="ellipsis" if one_line else "fold", no_wrap=one_line)
    for row in rows:
        result.add_row(*(escape(str(cell)) for cell in row))
    return result


def card(values: Mapping[str, object], *, title: str = "") -> Table:
    """Return names and values in two columns."""
    result = Table(title=title or None, title_justify="left", box=None, pad_edge=False, show_header=False)
    result.add_column(style="bold")
    result.add_column(overflow="fold")
    for name, value in values.items():
        result.add_row(name, escape(str(value)))
    return result


@contextmanager
def progress(*, counted: bool = True) -> Iterator[Progress]:
    """Show progress with an estimate; nothing if the output is not a terminal."""
    count = [MofNCompleteColumn()] if counted else []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        *count,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=stderr,
        disable=not stderr.is_terminal,
        transient=True,
    ) as bar:
        yield bar
