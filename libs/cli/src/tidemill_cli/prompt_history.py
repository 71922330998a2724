"""prompts label, log and diff: what versions differ in, where they come from, and what a label pointed to when."""

from collections.abc import Iterator
from difflib import unified_diff
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tidemill.inference.v1.prompt_pb2 import Prompt, PromptVersion
from tidemill.inference.v1.prompt_service_pb2 import GetPromptRequest
from tidemill_cli.output import call, moment, plain, show, table
from tidemill_client.declared import Prompts

_PARTS = ("system", "user", "variables_schema")
NameArgument = Annotated[str, typer.Argument(help="The prompt, for example answer.")]
VersionArgument = Annotated[str, typer.Argument(help="name@number or name@label, for example answer@2.")]


def label_version(
    version: VersionArgument, label: Annotated[str, typer.Argument(help='The label, for example "production".')]
) -> None:
    """Point a label to a version. A protected one waits for the approvals that the prompt declares."""
    prompt, pointed = found(version)
    changed = call(lambda c: Prompts(c).label(prompt.id, label, version=pointed.number))
    show(plain(changed), _moves(changed))


def show_log(name: NameArgument) -> None:
    """Show a prompt's versions, how its labels moved, the last first, and where versions come from."""
    prompt = _read(name)
    labels: dict[int, list[str]] = {}
    for label, number in sorted(prompt.version_labels.items()):
        labels.setdefault(number, []).append(label)
    rows = [
        (
            f"{prompt.id}@{each.number}",
            moment(each.create_time),
            each.creator or "-",
            ", ".join(labels.get(each.number, [])),
        )
        for each in reversed(prompt.versions)
    ]
    versions = table(("version", "made", "by", "labels"), rows)
    show(plain(prompt), Group(versions, "", _moves(prompt), *origins(prompt)))


def show_diff(before: VersionArgument, after: VersionArgument) -> None:
    """Show in which lines two versions of a prompt differ."""
    (_, old), (_, new) = found(before), found(after)
    lines = list(differences(old, new, names=(before, after)))
    show({"before": before, "after": after, "lines": lines}, Text("\n".join(lines)))


def origins(prompt: Prompt) -> list[RenderableType]:
    """Return a table of what a prompt was forked from, and what was merged into it; nothing where there is none."""
    forked = [(f"{prompt.id}@1", "forked from", prompt.forked_from)] if prompt.HasField("forked_from") else []
    merged = [
        (f"{prompt.id}@{version.number}", "merged from", each)
        for version in prompt.versions
        for each in version.merged_from
    ]
    rows = [(version, how, f"{origin.prompt}@{origin.version}") for version, how, origin in [*forked, *merged]]
    return ["", table(("version", "how", "from"), rows)] if rows else []


def differences(old: PromptVersion, new: PromptVersion, *, names: tuple[str, str]) -> Iterator[str]:
    """Yield the lines in which the contents of two versions differ."""
    for part in _PARTS:
        one, other = (getattr(each.content, part).splitlines() for each in (old, new))
        before, after = (f"{name} {part}" for name in names)
        yield from unified_diff(one, other, before, after, lineterm="")


def found(reference: str) -> tuple[Prompt, PromptVersion]:
    """Return a prompt, and its version that `name@number` or `name@label` names.

    Raises:
        typer.BadParameter: there is no such version.

    """
    name, _, pin = reference.partition("@")
    prompt = _read(name)
    number = int(pin) if pin.isascii() and pin.isdecimal() else prompt.version_labels.get(pin, 0)
    for each in prompt.versions:
        if each.number == number:
            return prompt, each
    known = ", ".join([f"1 to {prompt.latest_version}", *sorted(prompt.version_labels)])
    message = f"{reference!r} is no version: use name@number or name@label; {name} has {known}"
    raise typer.BadParameter(message)


def _read(name: str) -> Prompt:
    return call(lambda c: c.prompts.GetPrompt(GetPromptRequest(id=name))).prompt


def _moves(prompt: Prompt) -> Table:
    rows = [
        (moment(each.move_time), each.label, each.previous or "-", each.version, each.mover or "-")
        for each in reversed(prompt.label_moves)
    ]
    return table(("moved", "label", "from", "to", "by"), rows)
