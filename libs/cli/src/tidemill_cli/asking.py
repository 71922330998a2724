"""ask and search: answers with sources, and passages."""

import json
import uuid
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from google.protobuf.struct_pb2 import Struct
from rich.console import Group
from rich.markup import escape

from tidemill.content.v1.content_pb2 import AnchorKind, Passage
from tidemill.inference.v1.inference_pb2 import Inference
from tidemill.inference.v1.inference_service_pb2 import GenerateRequest, GenerateStreamRequest
from tidemill.rag.v1.retrieval_service_pb2 import SearchRequest, SearchResponse
from tidemill_cli.options import options
from tidemill_cli.output import call, plain, show, stdout, table, word
from tidemill_client.connection import Connection
from tidemill_client.values import user
from tidemill_core.errors import InvalidInput
from tidemill_core.places import described

SNIPPET = 100
"""Characters of a passage in a table."""


def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    *,
    deployment: Annotated[str, typer.Option("--deployment", "-d", help="The deployment.")] = "helpdesk",
    conversation: Annotated[
        str, typer.Option(help="The conversation to go on with, or to begin, for example chat-1.")
    ] = "",
    end_user: Annotated[str, typer.Option(help="The user's pseudonym.")] = "",
    variables: Annotated[str, typer.Option(help="Prompt variables, a JSON object.")] = "",
) -> None:
    """Ask a deployment. Streams the answer, then prints its sources."""

    async def work(connection: Connection) -> Inference:
        request = GenerateRequest(
            request_id=str(uuid.uuid4()),
            deployment=deployment,
            messages=[user(question)],
            conversation=conversation,
            end_user=end_user,
            variables=_struct("variables", variables) if variables else None,
        )
        finished = Inference()
        async for event in connection.inferences.GenerateStream(GenerateStreamRequest(request=request)):
            if event.HasField("delta") and not options().as_json:
                stdout.print(event.delta.text, end="", markup=False, highlight=False)
            if event.HasField("finished"):
                finished = event.finished
        return finished

    inference = call(work)
    if not options().as_json:
        stdout.print()
    show(plain(inference), _sources(inference))


def search(
    query: Annotated[str, typer.Argument(help="The query.")],
    *,
    collection: Annotated[
        list[str] | None,
        typer.Option("--collection", "-c", help="The collection (handbook); several are searched as one."),
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", help="Maximum number of passages.")] = 5,
    where: Annotated[str, typer.Option(help="Metadata filter, a JSON object.")] = "",
) -> None:
    """Show the passages most similar to a query."""

    async def work(connection: Connection) -> SearchResponse:
        first, *others = collection or ["handbook"]
        request = SearchRequest(
            collection=first,
            other_collections=others,
            query=query,
            top_k=top_k,
            metadata_filter=_struct("where", where) if where else None,
        )
        return await connection.retrieval.Search(request)

    answer = call(work)
    rows = [(*_scores(p), f"{p.source}/{p.key}", p.version, _place(p), _snippet(p.text)) for p in answer.passages]
    found = table(("score", "reranked", "document", "version", "place", "passage"), rows)
    data = {"passages": [plain(passage) for passage in answer.passages], "warnings": list(answer.warnings)}
    show(data, Group(found, *_shown(answer.warnings)))


def _sources(inference: Inference) -> Group:
    cited = {citation.passage for message in inference.output for part in message.parts for citation in part.citations}
    rows = [
        (f"[{p.id}]", "cited" if p.id in cited else "", f"{p.source}/{p.key}", p.version, _place(p), p.title)
        for p in inference.passages
    ]
    usage = inference.usage
    seconds = usage.total.ToMilliseconds() / 1000
    summary = f"{inference.id}  {inference.variant.model}  {usage.output_tokens} tokens in {seconds:.1f} s"
    warnings = _shown(inference.warnings)
    columns = ("", "", "document", "version", "place", "title")
    return Group("", table(columns, rows, title="sources"), *warnings, f"[dim]{escape(summary)}[/]")


def _shown(warnings: Iterable[str]) -> list[str]:
    return [f"[yellow]{escape(warning)}[/]" for warning in warnings]


def _scores(passage: Passage) -> tuple[str, str]:
    """Return the cosine, and the score of the reranker where there is one."""
    return f"{passage.score:.3f}", f"{passage.rerank_score:.3f}" if passage.HasField("rerank_score") else "-"


def _place(passage: Passage) -> str:
    """Return where a passage is in the original, such as "page 7", or else in the stored text."""
    places = [(word(AnchorKind, each.kind), each.first, each.last, each.name) for each in passage.places]
    return described(places) or f"{passage.start}-{passage.end}"


def _struct(field: str, text: str) -> Struct:
    try:
        values: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInput.at(field=field, text=f"is not JSON: {error.msg}") from None
    if not isinstance(values, dict):
        raise InvalidInput.at(field=field, text='must be a JSON object, such as {"product": "vpn"}')
    struct = Struct()
    struct.update(values)
    return struct


def _snippet(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SNIPPET else f"{line[: SNIPPET - 3]}..."
