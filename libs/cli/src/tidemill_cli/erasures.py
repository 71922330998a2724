"""erasures: end users, documents and deleted projects that are erased in all services."""

from pathlib import Path
from typing import Annotated

import typer

from tidemill.monitor.v1.erasure_pb2 import ERASURE_STATE_HELD, Erasure, ErasureScope, ErasureState
from tidemill.monitor.v1.erasure_service_pb2 import ListErasuresRequest
from tidemill_cli.options import Commands, options
from tidemill_cli.output import call, card, fail, moment, plain, show, stdout, table, word, writing
from tidemill_cli.pages import lists
from tidemill_client.erasures import Erasures
from tidemill_core.errors import InvalidInput

erasures = Commands(help="Erasures in all services: request, list, show, certificate.")

ErasureArgument = Annotated[str, typer.Argument(help="The erasure's id, as `tidemill erasures list` shows it.")]


@erasures.command("request")
def request_erasure(
    *,
    end_user: Annotated[str, typer.Option(help="The end user to erase, for example u-17.")] = "",
    document: Annotated[str, typer.Option(help="The id of the document to erase.")] = "",
) -> None:
    """Erase an end user or a document in all services. `tidemill projects delete` erases a project."""
    _show(call(lambda c: Erasures(c).request(end_user=end_user, document=document)))


@lists(
    erasures,
    "list",
    lambda c: c.erasures.ListErasures,
    ("erasure", "scope", "subject", "state", "requested", "by", "due", "completed"),
    lambda e: (
        e.id,
        word(ErasureScope, e.scope),
        _subject(e),
        _state(e),
        moment(e.request_time),
        e.requester,
        moment(e.due_time),
        moment(e.complete_time) if e.HasField("complete_time") else "",
    ),
)
def list_erasures() -> ListErasuresRequest:
    """List the project's erasures; of a deleted project for admins of the installation."""
    return ListErasuresRequest()


@erasures.command("show")
def show_erasure(erasure: ErasureArgument) -> None:
    """Show how far an erasure is, and what each service erased."""
    _show(call(lambda c: Erasures(c).get(erasure)))


@erasures.command("certificate")
def certificate(
    erasure: ErasureArgument,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write it to this file, byte by byte as it was stored.")
    ] = None,
) -> None:
    """Print the certificate of a completed erasure, whose sha256 stands in the audit records."""
    content = call(lambda c: Erasures(c).certificate(erasure))
    if out is None:
        stdout.print(content.decode(), markup=False, highlight=False, soft_wrap=True)
        return
    try:
        with writing(out):
            out.write_bytes(content)
    except InvalidInput as error:
        fail(error)
    show({"file": str(out), "bytes": len(content)}, f"certificate written to {out}")


def _subject(erasure: Erasure) -> str:
    return erasure.end_user or erasure.document or (erasure.subject_digest and f"sha256 {erasure.subject_digest[:12]}")


def _state(erasure: Erasure) -> str:
    state = word(ErasureState, erasure.state)
    return f"{state} by {erasure.hold}" if erasure.state == ERASURE_STATE_HELD else state


def _show(erasure: Erasure) -> None:
    facts = {
        "erasure": erasure.id,
        "scope": word(ErasureScope, erasure.scope),
        "subject": _subject(erasure),
        "state": _state(erasure),
        "requested": f"{moment(erasure.request_time)} by {erasure.requester or 'unknown'}",
        "due": moment(erasure.due_time),
        "completed": moment(erasure.complete_time) if erasure.HasField("complete_time") else "",
        "waits for": ", ".join(erasure.awaited_services),
        "certificate": erasure.certificate_sha256 and f"sha256 {erasure.certificate_sha256}",
    }
    show(plain(erasure), card({name: value for name, value in facts.items() if value}))
    if erasure.reports and not options().as_json:
        rows = [
            (report.service, count.kind, count.count, moment(report.complete_time))
            for report in erasure.reports
            for count in report.counts
        ]
        stdout.print(table(("service", "erased", "count", "by"), rows))
