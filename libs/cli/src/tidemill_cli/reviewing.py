"""One item of a review queue after the other, as it is shown to a reviewer and asked about."""

import asyncio
from collections.abc import Sequence

import typer
from rich.markup import escape

from tidemill.feedback.v1.review_pb2 import (
    LABEL_KIND_BOOLEAN,
    LABEL_KIND_CATEGORY,
    LABEL_KIND_NUMBER,
    SUBJECT_KIND_EXAMPLE,
    LabelField,
    ReviewClaim,
    ReviewLabel,
    ReviewQueue,
)
from tidemill_cli.output import stdout
from tidemill_client.reviews import Reviews, Shown, label_of
from tidemill_core.characters import printable
from tidemill_core.errors import AlreadyExists, NotFound, PreconditionFailed, TidemillError

SKIP, QUIT = ":skip", ":quit"


async def work_through(client: Reviews, name: str) -> int:
    """Show one item of a queue after the other and ask for its labels; return how many reviews were submitted."""
    queue, count = await client.get(name), 0
    while (claim := await client.claim(name)) is not None:
        try:
            _print_item(queue, claim, await _texts(client, claim))
            labels = await asyncio.to_thread(_asked, queue.fields)
        except _Unreadable as error:
            stdout.rule(escape(claim.subject.id))
            stdout.print(f"it is not shown: {escape(str(error))}")
            if await asyncio.to_thread(_stops):
                break
            await client.release(claim)
            continue
        except _Skipped:
            await client.release(claim)
            continue
        except _Stopped:
            break
        count += await _submitted(client, claim, labels)
    return count


async def _submitted(client: Reviews, claim: ReviewClaim, labels: Sequence[ReviewLabel]) -> int:
    """Return how many reviews were taken: none where others have the place by now, or the item is gone."""
    try:
        await client.submit(claim, labels)
    except (AlreadyExists, NotFound, PreconditionFailed) as error:
        stdout.print(escape(error.message))
        return 0
    return 1


class _Unreadable(Exception):
    """What is to be reviewed cannot be shown, so nothing can be said of it."""


class _Skipped(Exception):
    """The reviewer gives the item back."""


class _Stopped(Exception):
    """The reviewer stops; the claim expires, or is the next one."""


async def _texts(client: Reviews, claim: ReviewClaim) -> Shown:
    """Return the texts of an item.

    Raises:
        _Unreadable: there are none for the reviewer.

    """
    try:
        shown = await client.read(claim.subject)
    except NotFound as error:
        message = "it is not there any more"
        raise _Unreadable(message) from error
    except TidemillError as error:
        raise _Unreadable(error.message) from error
    if shown.restricted:
        message = "it rests on documents that you may not read"
        raise _Unreadable(message)
    return shown


def _stops() -> bool:
    """Return whether the reviewer stops, in place of giving back what is not shown."""
    stdout.print(f"{SKIP} gives it back, {QUIT} stops and keeps it for you")
    while (said := str(typer.prompt("", default="", show_default=False)).strip()) not in {SKIP, QUIT}:
        stdout.print(f"use {SKIP} or {QUIT}")
    return said == QUIT


def _print_item(queue: ReviewQueue, claim: ReviewClaim, shown: Shown) -> None:
    stdout.rule(escape(claim.subject.id))
    if claim.subject.kind == SUBJECT_KIND_EXAMPLE:
        stdout.print("of this example the answer is shown that it was made from; its own text may be a correction")
    for text in (queue.instructions, shown.question, shown.text, *(f"corrected: {each}" for each in shown.corrections)):
        if text:
            stdout.print(escape(printable(text)), end="\n\n")


def _asked(fields: Sequence[LabelField]) -> list[ReviewLabel]:
    """Ask for every field until each has a value, or is left out."""
    return [label for field in fields if (label := _ask(field)) is not None]


def _ask(field: LabelField) -> ReviewLabel | None:
    stdout.print(f"[bold]{escape(field.name)}[/bold] {escape(field.description)} {escape(bounds(field))}")
    while True:
        said = str(typer.prompt(field.name, default="", show_default=False)).strip()
        if said == SKIP:
            raise _Skipped
        if said == QUIT:
            raise _Stopped
        if not said and not field.required:
            return None
        try:
            return label_of(field, said)
        except TidemillError as error:
            stdout.print(escape(error.message))


def bounds(field: LabelField) -> str:
    """Return what may be said of a field."""
    if field.kind == LABEL_KIND_CATEGORY:
        return ", ".join(f"{number} {choice}" for number, choice in enumerate(field.choices, 1))
    if field.kind == LABEL_KIND_BOOLEAN:
        return "yes or no"
    if field.kind != LABEL_KIND_NUMBER:
        return "text"
    low = [f"from {field.min:g}"] if field.HasField("min") else []
    high = [f"to {field.max:g}"] if field.HasField("max") else []
    return " ".join(("a number", *low, *high))
