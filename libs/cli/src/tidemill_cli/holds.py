"""holds and retention: what is not erased, and what is removed at an age."""

from typing import Annotated

import typer

from tidemill.monitor.v1.hold_pb2 import Hold, HoldState
from tidemill.monitor.v1.hold_service_pb2 import ListHoldsRequest
from tidemill.monitor.v1.retention_pb2 import Retention, RetentionKind
from tidemill.monitor.v1.retention_service_pb2 import ListRetentionRequest
from tidemill_cli.options import Commands
from tidemill_cli.output import call, card, moment, plain, show, word
from tidemill_cli.pages import lists
from tidemill_client.erasures import Holds, Retentions

holds = Commands(help="Legal holds: what they cover is not erased. Create, release, list.")
retention = Commands(help="How long the project keeps kinds of data: set, list.")

HoldArgument = Annotated[str, typer.Argument(help="The hold, for example case-14-2026.")]


@holds.command("create")
def create_hold(
    hold: HoldArgument,
    *,
    reason: Annotated[str, typer.Option(help="A reference for people, such as the number of a case.")],
    end_user: Annotated[str, typer.Option(help="Hold the data of this end user.")] = "",
    document: Annotated[str, typer.Option(help="Hold this document.")] = "",
) -> None:
    """Hold an end user, a document, or the whole project: it is not erased until another admin releases it."""
    _show(call(lambda c: Holds(c).create(hold, reason, end_user=end_user, document=document)))


@holds.command("release")
def release_hold(hold: HoldArgument) -> None:
    """Release a hold that another admin created. Erasures that waited for it go on."""
    _show(call(lambda c: Holds(c).release(hold)))


@lists(
    holds,
    "list",
    lambda c: c.holds.ListHolds,
    ("hold", "of", "state", "reason", "created", "by", "released by"),
    lambda h: (h.id, _held(h), word(HoldState, h.state), h.reason, moment(h.create_time), h.creator, h.releaser),
)
def list_holds(
    *, active: Annotated[bool, typer.Option("--active", help="Only those that hold.")] = False
) -> ListHoldsRequest:
    """List the project's legal holds, released ones too."""
    return ListHoldsRequest(filter='state = "active"' if active else "")


@retention.command("set")
def set_retention(
    kind: Annotated[
        str,
        typer.Argument(help="answers, feedback, quarantine, evaluation_results, deleted_documents or training_runs."),
    ],
    *,
    days: Annotated[int, typer.Option(min=0, help="Days to keep it; 0 leaves it to the service's setting.")],
) -> None:
    """Set how long the project keeps one kind of data."""
    found = call(lambda c: Retentions(c).set(kind, days))
    show(plain(found), card({"kind": word(RetentionKind, found.kind), "kept for": _days(found)}))


@lists(
    retention,
    "list",
    lambda c: c.retention.ListRetention,
    ("kind", "kept for", "since"),
    lambda r: (word(RetentionKind, r.kind), _days(r), moment(r.update_time)),
)
def list_retention() -> ListRetentionRequest:
    """List what the project has set; other kinds are kept as the services are set."""
    return ListRetentionRequest()


def _days(found: Retention) -> str:
    return f"{found.days} days" if found.days else "as the service is set"


def _held(hold: Hold) -> str:
    if hold.end_user:
        return f"end user {hold.end_user}"
    return f"document {hold.document}" if hold.document else "the project"


def _show(hold: Hold) -> None:
    facts = {
        "hold": hold.id,
        "of": _held(hold),
        "state": word(HoldState, hold.state),
        "reason": hold.reason,
        "created": f"{moment(hold.create_time)} by {hold.creator or 'unknown'}",
        "released by": hold.releaser,
    }
    show(plain(hold), card({name: value for name, value in facts.items() if value}))
