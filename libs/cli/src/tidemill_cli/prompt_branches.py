"""prompts branch and merge: try a change as a prompt of its own, and take it over."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from tidemill.inference.v1.prompt_pb2 import Prompt
from tidemill_cli.output import call, plain, show
from tidemill_cli.prompt_grids import text_of
from tidemill_cli.prompt_history import NameArgument, differences, found, origins
from tidemill_client.connection import Connection
from tidemill_client.declared import Prompts
from tidemill_core.errors import InvalidInput

ResolveOption = Annotated[
    list[str] | None,
    typer.Option(
        "--resolve",
        help="What a field in conflict becomes: system, user or variables_schema, =TEXT or =@FILE. Repeatable.",
    ),
]


def branch(
    version: Annotated[str, typer.Argument(help="name (the newest version), name@number or name@label.")],
    name: Annotated[str, typer.Argument(help="The new prompt, for example brief.")],
) -> None:
    """Create a prompt that begins with a version of another one, and can be merged into it later."""
    source, number = _numbered(version)
    made = call(lambda c: Prompts(c).branch(source, name, version=number))
    show(plain(made), Group(f"{made.id} is created", *origins(made)))


def merge(
    name: NameArgument,
    *,
    source: Annotated[str, typer.Option("--from", help="The prompt to take changes from, or name@number, name@label.")],
    resolve: ResolveOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and store nothing.")] = False,
) -> None:
    """Take over what another prompt changed since both had a version in common, and show the lines that differ."""
    other, number = _numbered(source)

    async def work(connection: Connection) -> tuple[Prompt, Prompt]:
        prompts, resolutions = Prompts(connection), _resolutions(resolve or ())
        before = await prompts.get(name)
        merged = await prompts.merge(
            name, source=other, version=number, resolutions=resolutions, etag=before.etag, validate_only=dry_run
        )
        return before, merged

    before, after = call(work)
    if after.latest_version == before.latest_version:
        show(plain(after), f"{name}@{after.latest_version} has all of {source} already")
        return
    old, new = before.versions[-1], after.versions[-1]
    names = (f"{name}@{old.number}", f"{name}@{new.number}")
    said = f"{names[1]} {'would be' if dry_run else 'is'} merged from {source}"
    show(plain(after), Text("\n".join([said, *differences(old, new, names=names)])))


def _numbered(reference: str) -> tuple[str, int]:
    """Return a prompt's name and the number of a version, 0 for the newest."""
    name, at, pin = reference.partition("@")
    if not at:
        return name, 0
    number = int(pin) if pin.isascii() and pin.isdecimal() else 0
    return name, number or found(reference)[1].number


def _resolutions(given: Sequence[str]) -> dict[str, str]:
    """Return the content of fields.

    Raises:
        InvalidInput: one is not given as it has to be, or a file cannot be read.

    """
    values = dict[str, str]()
    for each in given:
        field, is_given, text = each.partition("=")
        if not is_given or field in values:
            raise InvalidInput.at(
                field="--resolve", text=f"is {field!r}: use FIELD=TEXT or FIELD=@FILE, each field once"
            )
        values[field] = text_of(Path(text[1:])) if text.startswith("@") else text
    return values
