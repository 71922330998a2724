"""audit: who did what, and the proof that no record was changed."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from tidemill.monitor.v1.audit_pb2 import AuditOutcome, AuditRecord
from tidemill.monitor.v1.audit_service_pb2 import AuditFilter
from tidemill_cli.options import Commands, options, without_project
from tidemill_cli.output import (
    EXIT_DIFFERENT,
    call,
    card,
    fail,
    moment,
    plain,
    progress,
    show,
    stdout,
    table,
    word,
    writing,
)
from tidemill_cli.pages import SizeOption, TokenOption, show_page
from tidemill_client.audit import Audit
from tidemill_client.connection import Connection
from tidemill_core.audit import Head, Verdict
from tidemill_core.audit import verify as verified
from tidemill_core.errors import InvalidInput

audit = Commands(help="Audit records: list, export, verify.")

_REPORT_EVERY = 20_000
_HASH_DIGITS = 64

InstallationOption = Annotated[
    bool, typer.Option("--installation", help="The installation's own records: for its admins.")
]
FileArgument = Annotated[Path, typer.Argument(help="The file of an export, for example audit.jsonl.")]


@audit.command("list")
def list_records(
    *,
    subject: Annotated[str, typer.Option(help="Only of this caller, such as user:ada.")] = "",
    method: Annotated[str, typer.Option(help="Only of this RPC, or type of a decision's event.")] = "",
    resource: Annotated[str, typer.Option(help="Only about this resource.")] = "",
    since: Annotated[datetime | None, typer.Option(help="Begun at this time or later.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Begun before this time.")] = None,
    installation: InstallationOption = False,
    size: SizeOption = 50,
    token: TokenOption = "",
) -> None:
    """List records, the newest first."""
    chosen = AuditFilter(subject=subject, method=method, resource=resource)
    for stamp, given in ((chosen.start_time, since), (chosen.end_time, until)):
        if given is not None:
            stamp.FromDatetime(given.astimezone(UTC))
    page = call(lambda c: Audit(c, installation=installation).page(chosen, size=size, token=token))
    columns = ("record", "time", "subject", "method", "resource", "outcome", "reason", "calls")
    show_page("records", page.records, page.next_page_token, table(columns, [*map(_row, page.records)]))


def _row(record: AuditRecord) -> tuple[object, ...]:
    subject = f"{record.subject} (by {record.via})" if record.via else record.subject
    outcome = word(AuditOutcome, record.outcome)
    method = record.method.removeprefix("tidemill.")
    return record.seq, moment(record.begin_time), subject, method, record.resource, outcome, record.reason, record.count


@audit.command("export")
def export(file: FileArgument, *, installation: InstallationOption = False) -> None:
    """Write all records to a file of JSON lines, which `tidemill audit verify` verifies."""

    async def work(connection: Connection) -> int:
        records, partial = 0, file.with_name(f"{file.name}.part")
        with writing(file), partial.open("wb") as out, progress() as bar:
            task = bar.add_task("records", total=None)
            async for piece in Audit(connection, installation=installation).export():
                out.write(piece.chunk)
                records = piece.records
                bar.update(task, completed=records, total=piece.total_records)
        with writing(file):
            partial.replace(file)
        return records

    records = call(work)
    show({"file": str(file), "records": records}, f"{records} records written to {file}")


@audit.command("head")
def head(
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write it to this file, for `verify`.")] = None,
    installation: InstallationOption = False,
    size: SizeOption = 1000,
    token: TokenOption = "",
) -> None:
    """Show the last record's number and hash, and a page of the anchors in the object store, the newest first."""

    async def work(connection: Connection) -> dict[str, object]:
        found = await Audit(connection, installation=installation).head(size=size, token=token)
        return {"project": "" if installation else connection.project, **plain(found)}

    found = call(work)
    if out is not None:
        try:
            with writing(out):
                out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        except InvalidInput as error:
            fail(error)
    anchors = found["anchors"]
    assert isinstance(anchors, list)  # noqa: S101 - of the contract
    newest = anchors[-1] if anchors else {"seq": "none"}
    facts = {"records": found["seq"], "hash": found["hash"], "anchors": len(anchors)}
    show(found, card({**facts, "newest anchor": f"{newest['seq']} {newest.get('create_time', '')}".strip()}))
    if found["next_page_token"] and not options().as_json:
        stdout.print(f"earlier anchors: --page-token {found['next_page_token']}")


@audit.command("verify")
@without_project
def verify(
    file: FileArgument,
    *,
    anchors: Annotated[
        Path | None, typer.Option("--anchors", help="What `audit head` wrote, or a folder with copies of anchors.")
    ] = None,
) -> None:
    """Verify an export, without a connection. Exit 0 if all records are good, 2 if not."""
    begun = time.perf_counter()
    try:
        with file.open("rb") as lines, progress(counted=False) as bar:
            known = _anchors(anchors, project=_project(file)) if anchors is not None else []
            task = bar.add_task("verifying", total=file.stat().st_size)
            found = verified(_reported(lines, lambda place: bar.update(task, completed=place)), known)
    except OSError as error:
        fail(InvalidInput(f"{error.filename} cannot be read: {error.strerror or error}"))
    except InvalidInput as error:
        fail(error)
    _show(found, anchors=len(known), seconds=time.perf_counter() - begun)
    if found.defect is not None:
        raise typer.Exit(EXIT_DIFFERENT)


def _reported(lines: BinaryIO, report: Callable[[int], None]) -> Iterator[bytes]:
    place = 0
    for number, line in enumerate(lines):
        place += len(line)
        if not number % _REPORT_EVERY:
            report(place)
        yield line


def _show(found: Verdict, *, anchors: int, seconds: float) -> None:
    state = found.defect.value if found.defect else "good"
    rate = round(found.records / seconds) if seconds else 0
    data = {
        "state": state,
        "records": found.records,
        "first": found.first,
        "last": found.last,
        "anchors": anchors,
        "bad_record": found.seq if found.defect else None,
        "why": found.why,
        "records_per_second": rate,
    }
    if found.defect:
        facts = {"first bad record": found.seq, "defect": state, "why": found.why, "good records before": found.records}
    else:
        facts = {"good records": found.records, "from": found.first, "to": found.last, "anchors": anchors}
        if found.first > 1 and not anchors:
            facts["earlier records"] = "not in the file; give --anchors to prove where it begins"
    if not options().as_json:
        facts["records a second"] = rate
    show(data, card(facts))


def _project(file: Path) -> str:
    """Return the project that an export names; "" is the installation's."""
    with file.open("rb") as lines:
        try:
            return str(json.loads(lines.readline())["project"])
        except (ValueError, KeyError, TypeError):
            return ""


def _anchors(path: Path, *, project: str) -> list[Head]:
    """Return the anchors of a project in a file or folder.

    Raises:
        InvalidInput: there are none, or the file is none of anchors.

    """
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    heads = [head for each in files for head in _heads(each, project)]
    if not heads:
        message = f"{path} has no anchor of {project or 'the installation'}: leave --anchors out, or name another"
        raise InvalidInput(message)
    return heads


def _heads(file: Path, project: str) -> list[Head]:
    try:
        found = json.loads(file.read_bytes())
        if found["project"] != project:
            return []
        heads = [found, *found.get("anchors", [])]
        read = [Head(seq=int(each["seq"]), hash=str(each["hash"])) for each in heads]
    except (ValueError, KeyError, TypeError, AttributeError):
        message = f"{file} has no anchors: use what `tidemill audit head --out` wrote, or objects of the bucket"
        raise InvalidInput(message) from None
    return [each for each in read if each.seq > 0 and len(each.hash) == _HASH_DIGITS]
