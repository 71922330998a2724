"""documents: add, look at, explain and delete."""

import uuid
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group

from tidemill.ingest.v1.document_pb2 import Document, DocumentState
from tidemill.ingest.v1.document_service_pb2 import (
    DeleteDocumentRequest,
    ExplainDocumentRequest,
    ExplainDocumentResponse,
    GetDocumentRequest,
    GetDocumentTextRequest,
    GetDocumentTextResponse,
    ListDocumentsRequest,
    ListDocumentsResponse,
)
from tidemill.rag.v1.collection_service_pb2 import GetIndexedDocumentRequest, ListCollectionsRequest
from tidemill_client.cli.output import (
    JsonOption,
    ProjectOption,
    card,
    chosen_project,
    plain,
    progress,
    run,
    show,
    table,
)
from tidemill_client.cli.pages import SizeOption, TokenOption, show_page
from tidemill_client.connection import Connection
from tidemill_client.documents import MEDIA_TYPES, Documents, NewDocument
from tidemill_kit.errors import InvalidInput, TidemillError, Violation

documents = typer.Typer(help="Documents: what goes in.", no_args_is_help=True)

SourceOption = Annotated[str, typer.Option("--source", "-s", help="The source that it belongs to.")]
KeyArgument = Annotated[str, typer.Argument(help="The document's key, or its id.")]


@documents.command("add")
def add(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders with --recursive.")],
    *,
    source: SourceOption = "manual",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Everything below the folders.")] = False,
    project: ProjectOption = "",
    as_json: JsonOption = False,
) -> None:
    """Add documents; the same content again changes nothing. Exit 1 when any was refused."""

    async def work() -> tuple[list[Document], dict[str, str]]:
        files = _files(paths, recursive=recursive)
        new = [NewDocument(source=source, key=key, content=file) for key, file in files.items()]
        added: list[Document] = []
        refused: dict[str, str] = {}
        async with Connection(chosen_project(project)) as connection:
            with progress() as bar:
                task = bar.add_task("adding", total=len(new))
                async for uploaded in Documents(connection).upload_many(new):
                    if uploaded.document:
                        added.append(uploaded.document)
                    elif uploaded.refused:
                        refused[uploaded.new.key] = uploaded.refused.message
                    bar.advance(task)
        return added, refused

    added, refused = run(work(), as_json=as_json)
    data = {"added": [{"id": d.id, "key": d.key, "version": d.current.number} for d in added], "refused": refused}
    rows = [(key, message) for key, message in refused.items()]
    problems = [table(("refused", "why"), rows)] if rows else []
    show(data, Group(f"{len(added)} accepted, {len(refused)} refused", *problems), as_json=as_json)
    if refused:
        raise typer.Exit(1)


def _files(paths: list[Path], *, recursive: bool) -> dict[str, Path]:
    """Return every file by its key: its path below the folder that was named."""
    found: dict[str, Path] = {}
    for path in paths:
        if path.is_file():
            found[path.name] = path
        elif path.is_dir() and recursive:
            inside = (p for p in sorted(path.rglob("*")) if p.is_file() and p.suffix.lower() in MEDIA_TYPES)
            found.update({file.relative_to(path).as_posix(): file for file in inside})
        else:
            hint = "is a folder: add --recursive" if path.is_dir() else "is not there"
            raise InvalidInput.of(Violation(field=str(path), description=hint))
    if not found:
        raise InvalidInput.of(Violation(field="paths", description=f"hold no files ending in {', '.join(MEDIA_TYPES)}"))
    return found


@documents.command("list")
def list_documents(
    *,
    source: SourceOption = "",
    show_all: Annotated[bool, typer.Option("--all", help="Deleted and rejected ones too.")] = False,
    size: SizeOption = 50,
    token: TokenOption = "",
    project: ProjectOption = "",
    as_json: JsonOption = False,
) -> None:
    """List documents, oldest first."""

    async def work() -> ListDocumentsResponse:
        request = ListDocumentsRequest(source=source, show_all=show_all, page_size=size, page_token=token)
        async with Connection(chosen_project(project)) as connection:
            return await connection.documents.ListDocuments(request)

    page = run(work(), as_json=as_json)
    rows = [(d.id, f"{d.source}/{d.key}", _state(d), d.current.number or "-", d.current.title) for d in page.documents]
    picture = table(("id", "document", "state", "version", "title"), rows)
    show_page("documents", list(page.documents), page.next_page_token, picture, as_json=as_json)


@documents.command("show")
def show_document(
    key: KeyArgument, *, source: SourceOption = "", project: ProjectOption = "", as_json: JsonOption = False
) -> None:
    """Show a document and its current version."""

    async def work() -> Document:
        async with Connection(chosen_project(project)) as connection:
            request = GetDocumentRequest(**_name(key, source))
            return (await connection.documents.GetDocument(request)).document

    document = run(work(), as_json=as_json)
    facts = {
        "document": document.id,
        "key": f"{document.source}/{document.key}",
        "state": _state(document),
        "version": document.current.number,
        "title": document.current.title,
        "masked": dict(document.current.provenance.masked),
    }
    show(plain(document), card(facts), as_json=as_json)


@documents.command("text")
def show_text(
    document: Annotated[str, typer.Argument(help="The document's id.")],
    *,
    version: Annotated[int, typer.Option(help="0 is the current one.")] = 0,
    project: ProjectOption = "",
    as_json: JsonOption = False,
) -> None:
    """Print the masked text of a version."""

    async def work() -> GetDocumentTextResponse:
        async with Connection(chosen_project(project)) as connection:
            return await connection.documents.GetDocumentText(GetDocumentTextRequest(id=document, version=version))

    answer = run(work(), as_json=as_json)
    if as_json:
        show(plain(answer), "", as_json=True)
    else:
        typer.echo(answer.text)


@documents.command("explain")
def explain(
    key: KeyArgument, *, source: SourceOption = "", project: ProjectOption = "", as_json: JsonOption = False
) -> None:
    """Tell a document's whole way, and where it stands in every collection."""

    async def work() -> tuple[ExplainDocumentResponse, list[dict[str, object]]]:
        async with Connection(chosen_project(project)) as connection:
            way = await connection.documents.ExplainDocument(ExplainDocumentRequest(**_name(key, source)))
            return way, await _standing(connection, way.document)

    way, standing = run(work(), as_json=as_json)
    steps = [(s.time.ToJsonString(), s.happened, s.version or "-", "yes" if s.published else "not yet", s.message)
             for s in way.steps]  # fmt: skip
    index = [(s["collection"], s["index"], s["state"], s["message"]) for s in standing]
    picture = Group(
        card(
            {
                "document": way.document.id,
                "key": f"{way.document.source}/{way.document.key}",
                "state": _state(way.document),
            }
        ),
        "",
        table(("time", "happened", "version", "published", "message"), steps),
        "",
        table(("collection", "index", "searchable", "message"), index),
    )
    show({**plain(way), "indexes": standing}, picture, as_json=as_json)


async def _standing(connection: Connection, document: Document) -> list[dict[str, object]]:
    """Return where the document stands in each collection; rag not answering is a fact like others."""
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


@documents.command("delete")
def delete(
    key: KeyArgument,
    *,
    source: SourceOption = "",
    erase: Annotated[bool, typer.Option("--erase", help="Erase the text of all versions.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    project: ProjectOption = "",
    as_json: JsonOption = False,
) -> None:
    """Delete a document; it is no longer found from the moment its event is heard."""

    async def work() -> Document:
        request = DeleteDocumentRequest(erase=erase, delete_reason=reason, request_id=str(uuid.uuid4()))
        request.MergeFrom(DeleteDocumentRequest(**_name(key, source)))
        async with Connection(chosen_project(project)) as connection:
            return (await connection.documents.DeleteDocument(request)).document

    document = run(work(), as_json=as_json)
    show(plain(document), f"{document.source}/{document.key} is {_state(document)}", as_json=as_json)


def _name(key: str, source: str) -> dict[str, Any]:
    """Return how a request names a document: by id where the key is one."""
    try:
        uuid.UUID(key)
    except ValueError:
        return {"source": source, "key": key}
    return {"id": key}


def _state(document: Document) -> str:
    return DocumentState.Name(document.state).removeprefix("DOCUMENT_STATE_").lower()
