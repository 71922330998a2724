"""files: list, show, get and delete what batches read and write."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tidemill.inference.v1.file_pb2 import File, FilePurpose
from tidemill.inference.v1.file_service_pb2 import ListFilesRequest
from tidemill_cli.options import Commands
from tidemill_cli.output import call, card, moment, plain, show, word, written
from tidemill_cli.pages import lists
from tidemill_client.pages import filter_of
from tidemill_client.stored_files import StoredFiles

files = Commands(help="The input and the results of batches: list, show, get, delete.")

FileArgument = Annotated[str, typer.Argument(help="The file's id, as `tidemill files list` shows it.")]


@lists(
    files,
    "list",
    lambda c: c.files.ListFiles,
    ("file", "name", "purpose", "bytes", "by", "created", "removed"),
    lambda f: (
        f.id,
        f.filename,
        word(FilePurpose, f.purpose),
        f.size,
        f.creator,
        moment(f.create_time),
        moment(f.expire_time),
    ),
)
def list_files(
    *,
    purpose: Annotated[
        Literal["batch", "batch_output"] | None, typer.Option(help="Only inputs (batch), or results (batch_output).")
    ] = None,
) -> ListFilesRequest:
    """List the project's files."""
    return ListFilesRequest(filter=filter_of(purpose=(purpose or "").upper()))


@files.command("show")
def show_file(file: FileArgument) -> None:
    """Show what is known of a file."""
    found = call(lambda c: StoredFiles(c).get(file))
    show(plain(found), card(_facts(found)))


@files.command("get")
def get_file(
    file: FileArgument,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Output file; default: standard output.")
    ] = None,
) -> None:
    """Write the content of a file."""
    size = call(lambda c: written(StoredFiles(c).content(file), output))
    if output is not None:
        show({"file": str(output), "bytes": size}, f"{size} bytes written to {output}")


@files.command("delete")
def delete_file(file: FileArgument) -> None:
    """Delete a file and its content."""
    deleted = call(lambda c: StoredFiles(c).delete(file))
    show(plain(deleted), f"{deleted.id} is deleted")


def _facts(file: File) -> dict[str, object]:
    facts: dict[str, object] = {
        "file": file.id,
        "name": file.filename,
        "purpose": word(FilePurpose, file.purpose),
        "bytes": file.size,
        "sha256": file.sha256,
        "by": file.creator,
        "batch": file.batch,
        "created": moment(file.create_time),
        "removed": moment(file.expire_time),
    }
    return {name: value for name, value in facts.items() if value != ""}
