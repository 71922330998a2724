"""documents: add, list, show, explain, release, reveal and delete."""

import asyncio
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.markup import escape

from tidemill.ingest.v1.document_pb2 import Document, DocumentState, MemberState
from tidemill.ingest.v1.document_service_pb2 import (
    DeleteDocumentRequest,
    ExplainDocumentRequest,
    ExplainDocumentResponse,
    GetDocumentRequest,
    GetDocumentTextRequest,
    ListDocumentsRequest,
    ReleaseDocumentRequest,
    RevealPseudonymsRequest,
)
from tidemill.ingest.v1.label_pb2 import DocumentLabel
from tidemill.rag.v1.collection_service_pb2 import GetIndexedDocumentRequest, ListCollectionsRequest
from tidemill_cli.following import Followed, FollowFolders, until_signalled
from tidemill_cli.options import Commands, options
from tidemill_cli.output import (
    call,
    card,
    chosen_project,
    fail,
    plain,
    print_json,
    progress,
    run,
    show,
    table,
    word,
)
from tidemill_cli.pages import lists
from tidemill_client.connection import Connection
from tidemill_client.documents import Documents, NewDocument, Outcome, Uploaded
from tidemill_client.files import Files, find_files
from tidemill_core.errors import InvalidInput, TidemillError

documents = Commands(help="Add, list, explain, release, reveal and delete documents.")

SourceOption = Annotated[str, typer.Option("--source", "-s", help="The document's source.")]
KeyArgument = Annotated[str, typer.Argument(help="The document's key or id.")]


@documents.command("add")
def add(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders with --recursive.")],
    *,
    source: SourceOption = "manual",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Include subdirectories.")] = False,
    below: Annotated[
        Path | None,
        typer.Option("--below", help="Keys are paths relative to this directory (default: the current one)."),
    ] = None,
    allow_skipped: Annotated[
        bool, typer.Option("--allow-skipped", help="Exit 0 even if unsupported files were skipped.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Then follow the folders, and send what changes, until interrupted.")
    ] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="With --watch: delete documents whose files are deleted meanwhile.")
    ] = False,
) -> None:
    """Add documents with their paths as keys. What is stored already is not sent again: repeat it after a crash.

    Exit 1 if a document was rejected or withheld, or a file of an unsupported type skipped; 0 after --watch. Hidden
    files are ignored.
    """

    async def work() -> tuple[Files, list[Uploaded]]:
        files = find_files(paths, recursive=recursive, below=below)
        async with Connection(chosen_project()) as connection:
            client = Documents(connection)
            if not watch:
                return files, await _upload(client, source, files)
            follow = FollowFolders(
                documents=client, source=source, folders=paths, below=below, delete=delete, report=_show_followed
            )
            with until_signalled() as stop:
                follow.expect(files)
                uploads = await _upload(client, source, files, stop=stop)
                show(_added_data(files, uploads), _added_picture(files, uploads))
                await follow(stop)
        return files, uploads

    _check_watch(paths, watch=watch, delete=delete)
    files, uploads = run(work())
    if watch:
        return
    show(_added_data(files, uploads), _added_picture(files, uploads))
    refused = any(uploaded.refused for uploaded in uploads)
    withheld = any(uploaded.outcome is Outcome.WITHHELD for uploaded in uploads)
    if refused or withheld or (files.unreadable and not allow_skipped):
        raise typer.Exit(1)


async def _upload(client: Documents, source: str, files: Files, *, stop: asyncio.Event | None = None) -> list[Uploaded]:
    """Return what became of each file; after the event is set, no further one is sent."""
    new = (
        NewDocument(source=source, key=key, content=file)
        for key, file in files.by_key.items()
        if stop is None or not stop.is_set()
    )
    with progress() as bar:
        task = bar.add_task("adding", total=len(files.by_key))
        uploads: list[Uploaded] = []
        async for uploaded in client.upload_many(new, skip_stored=True):
            uploads.append(uploaded)
            bar.advance(task)
    return uploads


def _check_watch(paths: list[Path], *, watch: bool, delete: bool) -> None:
    """Fail where what is to be followed is no folder, or nothing is to be followed."""
    if delete and not watch:
        fail(InvalidInput.at(field="--delete", text="is about what --watch follows: add --watch"))
    if watch and (files := [path for path in paths if not path.is_dir()]):
        fail(InvalidInput.at(field=str(files[0]), text="is no folder: --watch follows folders, with --recursive"))


def _show_followed(change: Followed) -> None:
    show(asdict(change), " ".join(part for part in (change.what, escape(change.key), escape(change.message)) if part))


def _added_data(files: Files, uploads: list[Uploaded]) -> dict[str, object]:
    added = [(each.document, each.outcome) for each in uploads if each.document and each.outcome]
    return {
        "added": [
            {
                "id": document.id,
                "key": document.key,
                "version": document.withheld.version or document.current.number,
                "outcome": outcome.value,
            }
            for document, outcome in added
        ],
        "refused": {each.new.key: each.refused.message for each in uploads if each.refused},
        "skipped": [{"path": str(each.path), "why": each.why} for each in files.skipped],
        "skipped_by_suffix": files.by_suffix(),
    }


def _added_picture(files: Files, uploads: list[Uploaded]) -> Group:
    """Return one line of counts, and tables of the updated, rejected and skipped files."""
    refused = [(each.new.key, each.refused.message) for each in uploads if each.refused]
    withheld = [
        (each.document.key, each.document.withheld.version, _why_withheld(each.document))
        for each in uploads
        if each.document and each.outcome is Outcome.WITHHELD
    ]
    accepted = len(uploads) - len(refused) - len(withheld)
    unchanged = sum(each.outcome is Outcome.UNCHANGED for each in uploads)
    counts = [f"{accepted} accepted" + (f" ({unchanged} unchanged)" if unchanged else ""), f"{len(refused)} rejected"]
    counts += [f"{len(withheld)} withheld"] if withheld else []
    if files.unreadable:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in files.by_suffix().items())
        counts.append(f"{len(files.unreadable)} skipped: {kinds}")
    changed = [
        (each.document.key, each.document.current.number)
        for each in uploads
        if each.document and each.outcome is Outcome.UPDATED
    ]
    skipped = [(str(each.path), each.why) for each in files.skipped]
    tables = [
        table(("updated", "version"), changed) if changed else None,
        table(("rejected", "reason"), refused) if refused else None,
        table(("withheld", "version", "reason"), withheld) if withheld else None,
        table(("skipped", "reason"), skipped) if skipped else None,
    ]
    return Group(", ".join(counts), *(each for each in tables if each))


@lists(
    documents,
    "list",
    lambda c: c.documents.ListDocuments,
    ("id", "document", "state", "version", "title"),
    lambda d: (d.id, f"{d.source}/{d.key}", word(DocumentState, d.state), d.current.number or "-", d.current.title),
)
def list_documents(
    *,
    source: SourceOption = "",
    inside: Annotated[
        str, typer.Option("--inside", help="Only what is inside of this archive or mail, by its id.")
    ] = "",
    label: Annotated[
        str,
        typer.Option("--label", help="Only those that reviewers labelled so: QUEUE[.FIELD[=VALUE]]."),
    ] = "",
    show_all: Annotated[bool, typer.Option("--all", help="Include deleted, rejected and withheld documents.")] = False,
) -> ListDocumentsRequest:
    """List documents, oldest first; with --label, in the order of their ids."""
    return ListDocumentsRequest(source=source, parent=inside, label=label, show_all=show_all)


@documents.command("show")
def show_document(key: KeyArgument, *, source: SourceOption = "") -> None:
    """Show a document and its current version."""
    request = GetDocumentRequest(**_name(key, source))
    found = call(lambda c: c.documents.GetDocument(request))
    document = found.document
    facts = {
        "document": document.id,
        "key": f"{document.source}/{document.key}",
        "state": word(DocumentState, document.state),
        "version": document.current.number,
        "title": document.current.title,
        "masked": dict(document.current.provenance.masked),
        **({"inside": document.parent} if document.parent else {}),
        **({"members": document.member_count} if document.member_count else {}),
    }
    if document.HasField("withheld"):
        facts["withheld"] = f"version {document.withheld.version}: {_why_withheld(document)}"
    if document.HasField("duplicate_of"):
        facts["duplicate of"] = f"{document.duplicate_of.document}, {document.duplicate_of.similarity:.2f} in common"
    labels = [*map(_label_row, found.labels)]
    picture = Group(card(facts), *(("", table(LABEL_COLUMNS, labels)) if labels else ()))
    show({**plain(document), **({"labels": plain(found)["labels"]} if labels else {})}, picture)


LABEL_COLUMNS = ("label", "value", "of", "resolved", "by")


def _label_row(label: DocumentLabel) -> tuple[str, str, str, str, str]:
    value = getattr(label, kind) if (kind := label.WhichOneof("value")) else ""
    text = str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
    by = f"{label.adjudicator} (adjudicated)" if label.adjudicator else ", ".join(label.reviewers)
    of = "an earlier version" if label.earlier_version else "this version"
    return f"{label.queue}.{label.field}", text, of, label.resolve_time.ToJsonString(), by or "-"


@documents.command("text")
def show_text(
    document: Annotated[str, typer.Argument(help="The document's id.")],
    *,
    version: Annotated[int, typer.Option(help="Version number; 0 = current.")] = 0,
) -> None:
    """Print the masked text of a version."""
    request = GetDocumentTextRequest(id=document, version=version)
    answer = call(lambda c: c.documents.GetDocumentText(request))
    if options().as_json:
        print_json(plain(answer))
    else:
        typer.echo(answer.text)


@documents.command("explain")
def explain(key: KeyArgument, *, source: SourceOption = "") -> None:
    """Show a document's history, and its indexing status in every collection."""

    async def work(connection: Connection) -> tuple[ExplainDocumentResponse, list[dict[str, object]]]:
        way = await connection.documents.ExplainDocument(ExplainDocumentRequest(**_name(key, source)))
        return way, await _standing(connection, way.document)

    way, standing = call(work)
    steps = [(s.time.ToJsonString(), s.happened, s.version or "-", "yes" if s.published else "not yet", s.message)
             for s in way.steps]  # fmt: skip
    members = [(m.path, word(MemberState, m.state), m.reason, m.message) for m in way.members]
    index = [(s["collection"], s["index"], s["state"], s["message"]) for s in standing]
    picture = Group(
        card(
            {
                "document": way.document.id,
                "key": f"{way.document.source}/{way.document.key}",
                "state": word(DocumentState, way.document.state),
                **({"inside": way.document.parent} if way.document.parent else {}),
            }
        ),
        "",
        table(("time", "happened", "version", "published", "message"), steps),
        "",
        table(("collection", "index", "searchable", "message"), index),
        *(("", table(("member", "state", "reason", "message"), members)) if members else ()),
        *(("", table(LABEL_COLUMNS, [*map(_label_row, way.labels)])) if way.labels else ()),
    )
    show({**plain(way), "indexes": standing}, picture)


async def _standing(connection: Connection, document: Document) -> list[dict[str, object]]:
    """Return the indexing status in each collection; if rag does not respond, a row says so."""
    try:
        collections = (await connection.collections.ListCollections(ListCollectionsRequest(page_size=1000))).collections
        found: list[dict[str, object]] = []
        for collection in collections:
            request = GetIndexedDocumentRequest(collection=collection.id, document=document.id)
            for entry in (await connection.collections.GetIndexedDocument(request)).documents:
                searchable = entry.indexed_seq == entry.wanted_seq and entry.chunks > 0
                state = f"yes, {entry.chunks} passages" if searchable else "no"
                found.append(
                    {"collection": collection.id, "index": entry.index, "state": state, "message": entry.message}
                )
    except TidemillError as error:
        return [{"collection": "-", "index": "-", "state": "unknown", "message": error.message}]
    return found


@documents.command("release")
def release(
    key: KeyArgument,
    *,
    source: SourceOption = "",
    version: Annotated[int, typer.Option("--version", help="Number of the withheld version.")],
) -> None:
    """Publish a withheld version, whatever rules of its source it breaks."""
    request = ReleaseDocumentRequest(version=version)
    request.MergeFrom(ReleaseDocumentRequest(**_name(key, source)))
    document = call(lambda c: c.documents.ReleaseDocument(request)).document
    show(plain(document), f"{document.source}/{document.key} has version {document.current.number}")


@documents.command("reveal")
def reveal(
    key: KeyArgument,
    pseudonyms: Annotated[list[str], typer.Argument(help="Pseudonyms as they are in the text, such as EMAIL:k3f9...")],
    *,
    source: SourceOption = "",
    version: Annotated[int, typer.Option(help="Version number; 0 = current.")] = 0,
) -> None:
    """Show what pseudonyms of a document stand for. The audit log records it."""
    inside = [each.removeprefix("[").removesuffix("]") for each in pseudonyms]  # a shell has a use for brackets, too
    request = RevealPseudonymsRequest(version=version, pseudonyms=[f"[{each}]" for each in inside])
    request.MergeFrom(RevealPseudonymsRequest(**_name(key, source)))
    answer = call(lambda c: c.documents.RevealPseudonyms(request))
    rows = [(each.pseudonym, each.value) for each in answer.revealed]
    rows += [(each, "-") for each in answer.unknown]
    show(plain(answer), table(("pseudonym", f"in version {answer.version}"), rows))


@documents.command("delete")
def delete(
    key: KeyArgument,
    *,
    source: SourceOption = "",
    erase: Annotated[bool, typer.Option("--erase", help="Erase the text of all versions.")] = False,
    reason: Annotated[str, typer.Option(help="Reason, recorded with the deletion.")] = "",
) -> None:
    """Delete a document. Searches exclude it as soon as rag has consumed the event."""
    request = DeleteDocumentRequest(erase=erase, delete_reason=reason)
    request.MergeFrom(DeleteDocumentRequest(**_name(key, source)))
    document = call(lambda c: c.documents.DeleteDocument(request)).document
    show(plain(document), f"{document.source}/{document.key} is {word(DocumentState, document.state)}")


def _why_withheld(document: Document) -> str:
    return "; ".join(f"{each.field} is {each.limit}, it has {each.value}" for each in document.withheld.breaches)


def _name(key: str, source: str) -> dict[str, Any]:
    """Return the request's fields for a document: `id` if the argument is a UUID, else source and key."""
    try:
        uuid.UUID(key)
    except ValueError:
        return {"source": source, "key": key}
    return {"id": key}
