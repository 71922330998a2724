"""reviews: queues, items and reviews; `work` shows one item after the other and asks for its labels."""

import json
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from tidemill.feedback.v1.review_pb2 import (
    REVIEW_ITEM_STATE_UNSPECIFIED,
    LabelKind,
    Review,
    ReviewClaim,
    ReviewItem,
    ReviewItemState,
    ReviewLabel,
    ReviewQueueReport,
    SamplingStrategy,
)
from tidemill.feedback.v1.review_service_pb2 import ListReviewItemsRequest, ListReviewQueuesRequest
from tidemill_cli.options import Commands
from tidemill_cli.output import call, card, plain, show, table, word, written
from tidemill_cli.pages import lists
from tidemill_cli.reviewing import bounds, work_through
from tidemill_client.connection import Connection
from tidemill_client.reviews import Reviews, document_item, inference_item, labels_of
from tidemill_core.errors import InvalidInput

reviews = Commands(help="Review queues: label answers and documents, and see how well reviewers agree.")

QueueArgument = Annotated[str, typer.Argument(help="The review queue.")]
ItemArgument = Annotated[str, typer.Argument(help="The item (see `tidemill reviews items`).")]
LabelOption = Annotated[list[str], typer.Option("--label", "-l", help="field=value; once for each field.")]
ClaimOption = Annotated[str, typer.Option("--claim", help="The claim (see `tidemill reviews claim`).")]
_TAKEN = ("subject", "expected", "reviews")
"""What of an exported item is imported."""


@lists(
    reviews,
    "list",
    lambda c: c.reviews.ListReviewQueues,
    ("queue", "fields", "samples", "reviewers", "paused"),
    lambda q: (
        q.id,
        ", ".join(field.name for field in q.fields),
        f"{q.sampling.deployment}: {word(SamplingStrategy, q.sampling.strategy)}" if q.HasField("sampling") else "-",
        q.reviewers or 1,
        "yes" if q.paused else "-",
    ),
)
def list_queues() -> ListReviewQueuesRequest:
    """List the project's review queues."""
    return ListReviewQueuesRequest()


@reviews.command("show")
def show_queue(queue: QueueArgument) -> None:
    """Show what a queue asks."""
    found = call(lambda c: Reviews(c).get(queue))
    rows = [
        (each.name, word(LabelKind, each.kind), bounds(each), "yes" if each.required else "-") for each in found.fields
    ]
    show(plain(found), table(("field", "kind", "values", "required"), rows, title=found.instructions))


@lists(
    reviews,
    "items",
    lambda c: c.reviews.ListReviewItems,
    ("item", "about", "state", "reviews", "labels", "message"),
    lambda i: (
        i.id,
        i.subject.id or "-",
        word(ReviewItemState, i.state),
        len(i.reviews),
        _said(i.resolved.labels) if i.HasField("resolved") else "-",
        i.message,
    ),
)
def list_items(
    queue: QueueArgument,
    *,
    state: Annotated[str, typer.Option("--state", "-s", help="Only open, resolved or disputed ones.")] = "",
) -> ListReviewItemsRequest:
    """List the items of a queue with what was said of them."""
    return ListReviewItemsRequest(queue=queue, state=_state(state))


@reviews.command("add")
def add_items(
    queue: QueueArgument,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Inferences, or with --documents documents.")
    ] = None,
    *,
    documents: Annotated[bool, typer.Option("--documents", help="The ids are those of documents.")] = False,
    dataset: Annotated[
        str, typer.Option("--dataset", help="In place of ids: the examples of name@number, or of the newest version.")
    ] = "",
    curation: Annotated[
        str, typer.Option("--curation", help="In place of ids: what it may make examples of and the queue has not yet.")
    ] = "",
    max_items: Annotated[
        int, typer.Option("--max-items", min=1, help="Of a dataset: a sample of so many; of a curation: the latest.")
    ] = 100,
) -> None:
    """Add answers, documents or a dataset's examples to a queue."""
    if [bool(names), bool(dataset), bool(curation)].count(True) != 1:
        message = "give ids, or --dataset, or --curation"
        raise typer.BadParameter(message)

    async def work(connection: Connection) -> list[ReviewItem]:
        client = Reviews(connection)
        if curation:
            return await client.add(queue, await client.candidates(curation, queue=queue, limit=max_items))
        if dataset:
            found = await client.examples(dataset)
            return await client.add(queue, random.sample(found, min(max_items, len(found))))
        make = document_item if documents else inference_item
        return await client.add(queue, [make(name) for name in names or ()])

    added = call(work)
    show([plain(each) for each in added], f"{len(added)} items are in review queue {escape(queue)}")


@reviews.command("claim")
def claim_item(queue: QueueArgument) -> None:
    """Claim the next item, or show the one that you have; for scripts: `work` does it for people."""
    claim = call(lambda c: Reviews(c).claim(queue))
    if claim is None:
        show({}, f"review queue {escape(queue)} has nothing for you now")
    else:
        about, until = claim.subject.id, claim.expire_time.ToJsonString()
        show(plain(claim), card({"item": claim.item, "claim": claim.id, "about": about, "until": until}))


@reviews.command("submit")
def submit_review(queue: QueueArgument, item: ItemArgument, *, claim: ClaimOption, label: LabelOption) -> None:
    """Submit a review of a claimed item."""

    async def work(connection: Connection) -> Review:
        client = Reviews(connection)
        labels = labels_of(await client.get(queue), label)
        return await client.submit(ReviewClaim(item=item, id=claim), labels)

    given = call(work)
    show(plain(given), f"reviewed {escape(item)}: {escape(_said(given.labels))}")


@reviews.command("release")
def release_item(item: ItemArgument, *, claim: ClaimOption) -> None:
    """Give a claimed item back: it goes to others."""
    call(lambda c: Reviews(c).release(ReviewClaim(item=item, id=claim)))
    show({"item": item}, f"{escape(item)} is given back")


@reviews.command("adjudicate")
def adjudicate_item(queue: QueueArgument, item: ItemArgument, *, label: LabelOption) -> None:
    """Resolve an item by your decision."""

    async def work(connection: Connection) -> ReviewItem:
        client = Reviews(connection)
        return await client.adjudicate(item, labels_of(await client.get(queue), label))

    resolved = call(work)
    show(plain(resolved), f"{escape(item)} is resolved: {escape(_said(resolved.resolved.labels))}")


@reviews.command("report")
def report_queue(queue: QueueArgument) -> None:
    """Show how far a queue is, and how well its reviewers agree."""
    report = call(lambda c: Reviews(c).report(queue))
    show(plain(report), Group(_progress(report), "", _agreement(report), "", _people(report)))


def _progress(report: ReviewQueueReport) -> Table:
    names = ("open", "resolved", "disputed", "gold", "examined")
    return card({name: getattr(report, f"{name}_items") for name in names})


def _agreement(report: ReviewQueueReport) -> Table:
    rows = [
        (each.field, each.items, *(_figure(each, name) for name in ("alpha", "cohen_kappa", "fleiss_kappa")))
        for each in report.fields
    ]
    return table(("field", "items", "alpha", "Cohen's kappa", "Fleiss' kappa"), rows)


def _people(report: ReviewQueueReport) -> Table:
    rows = [
        (
            each.reviewer,
            each.reviews,
            *(_figure(each, name) for name in ("alpha", "resolved_share", "gold_accuracy")),
            ", ".join(each.constant_fields) or "-",
        )
        for each in report.reviewers
    ]
    return table(("reviewer", "reviews", "alpha", "as resolved", "as gold", "always the same of"), rows)


def _figure(of: Message, name: str) -> str:
    """Return a figure that may not be defined."""
    return f"{getattr(of, name):.3f}" if of.HasField(name) else "-"


@reviews.command("export")
def export_items(
    queue: QueueArgument,
    file: Annotated[Path, typer.Argument(help="The file to write: JSON lines.")],
    *,
    state: Annotated[str, typer.Option("--state", "-s", help="Only open, resolved or disputed ones.")] = "",
) -> None:
    """Write the items of a queue, with what was said of them, as JSON lines."""
    count, chosen = 0, _state(state)

    async def lines(connection: Connection) -> AsyncIterator[bytes]:
        nonlocal count
        async for item in Reviews(connection).items(queue, state=chosen):
            count += 1
            yield f"{json.dumps(plain(item))}\n".encode()

    call(lambda c: written(lines(c), file))
    show({"file": str(file), "items": count}, f"{count} items are in {escape(str(file))}")


@reviews.command("import")
def import_items(
    queue: QueueArgument,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JSON lines, as `export` writes them.")],
) -> None:
    """Add items from JSON lines: `subject`, and as needed `expected` (gold) or `reviews` of others."""

    async def work(connection: Connection) -> list[ReviewItem]:
        return await Reviews(connection).add(queue, _read(file))

    added = call(work)
    show({"items": len(added)}, f"{len(added)} items are in review queue {escape(queue)}")


@reviews.command("work")
def work_on(queue: QueueArgument) -> None:
    """Review one item after the other: it is shown, and its labels are asked for. `:skip` and `:quit` do so."""
    count = call(lambda c: work_through(Reviews(c), queue))
    show({"reviews": count}, f"you submitted {count} reviews to review queue {escape(queue)}")


def _read(file: Path) -> list[ReviewItem]:
    """Return the items of JSON lines.

    Raises:
        InvalidInput: names the line that is none.

    """
    items = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
            items.append(ParseDict({name: given[name] for name in _TAKEN if given.get(name)}, ReviewItem()))
        except (ValueError, AttributeError, TypeError, ParseError) as error:
            message = f"{file}: line {number} is no review item: write an object with subject, and expected or reviews"
            raise InvalidInput(message) from error
    return items


def _state(name: str) -> ReviewItemState.ValueType:
    if not name:
        return REVIEW_ITEM_STATE_UNSPECIFIED
    states = {word(ReviewItemState, number): number for number in ReviewItemState.values()}
    if name.lower() not in states:
        message = f"{name!r} is no state: use open, resolved or disputed"
        raise typer.BadParameter(message)
    return states[name.lower()]


def _said(labels: Sequence[ReviewLabel]) -> str:
    return ", ".join(f"{each.field}={_value(each)}" for each in labels)


def _value(label: ReviewLabel) -> str:
    value = getattr(label, label.WhichOneof("value") or "text")
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
