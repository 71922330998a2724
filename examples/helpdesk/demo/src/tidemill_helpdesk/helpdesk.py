"""The demo's first half: ingest documents, measure retrieval, and generate grounded answers."""

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.markup import escape
from rich.progress import Progress, TaskID

from tidemill.inference.v1.inference_pb2 import Inference
from tidemill.inference.v1.inference_service_pb2 import GenerateRequest, GenerateStreamRequest
from tidemill.ingest.v1.document_pb2 import DocumentState
from tidemill.rag.v1.collection_pb2 import IndexState
from tidemill.rag.v1.collection_service_pb2 import GetCollectionRequest
from tidemill.rag.v1.retrieval_service_pb2 import SearchRequest
from tidemill_cli.loop import read_loop
from tidemill_cli.loop.plan import Planner
from tidemill_cli.output import progress, stdout
from tidemill_client.connection import Connection
from tidemill_client.documents import Documents, NewDocument
from tidemill_client.values import user
from tidemill_core.errors import Internal
from tidemill_helpdesk.engine import engine_of, until_loaded
from tidemill_helpdesk.example import CorpusDocument, Example, upstream
from tidemill_helpdesk.patience import POLL_S, patience
from tidemill_helpdesk.report import Report

COLLECTION = "handbook"
DEPLOYMENT = "helpdesk"
UPLOADED, PUBLISHED = "manual", "cms"
PUBLISHED_SOURCE = "https://cms.example/kb"
MAX_CONCURRENT_SEARCHES = 4
QUESTIONS = 200
ANSWERS = 8


@dataclass(slots=True)
class Helpdesk:
    """One run of the demo in a project of its own."""

    connection: Connection
    example: Example
    report: Report
    documents: Sequence[CorpusDocument]
    facts: dict[str, Any] = field(default_factory=dict)
    """State for later steps: `ids`, document ids by key; `asked_elsewhere`, the question for the OpenAI endpoint."""
    first_tokens_s: list[float] = field(default_factory=list)
    """Time to first token of each streamed answer."""

    @property
    def ids(self) -> dict[str, str]:
        """The id of each document by its key."""
        found: dict[str, str] = self.facts.setdefault("ids", {})
        return found

    async def apply(self, *, is_continued: bool = False) -> None:
        """Apply the loop twice; the second time must change nothing."""
        loop = read_loop(self.example.loop)
        planner = Planner(self.connection, loop)
        with progress(counted=False) as bar:
            task = bar.add_task("applying", total=1.0)
            first = await planner.apply(
                progress=lambda text, share: bar.update(task, description=text, completed=share)
            )
            bar.update(task, description="applying again", completed=1.0)
            again = await planner.apply()
        changed, repeated = (sum(change.changes for change in changes) for changes in (first, again))
        stdout.print(
            f"   {self.example.loop.name} applied: {changed} resources changed; applied again: {repeated} changed"
        )
        if not is_continued:
            self.report.add("apply", changed=changed)
        self.report.add("apply", changed_again=repeated)
        if repeated:
            message = f"applying {self.example.loop.name} a second time changed {repeated} resources"
            raise Internal(message)

    async def feed(self) -> None:
        """Upload one half of the corpus, publish the other, and wait until all of it is searchable."""
        uploads, published = self.documents[::2], self.documents[1::2]
        with progress() as bar:
            uploading = bar.add_task("uploading by gRPC", total=len(uploads))
            publishing = bar.add_task("publishing CloudEvents", total=len(published))
            searchable = bar.add_task("searchable", total=len(self.documents))
            async with asyncio.TaskGroup() as work:
                work.create_task(self._upload(uploads, bar, uploading))
                work.create_task(self._publish(published, bar, publishing))
                indexing = work.create_task(self._until_searchable(bar, searchable))
            found = indexing.result()
        accepted = len(self.ids)
        stdout.print(f"   {accepted} documents accepted ({len(uploads)} by gRPC, {len(published)} as events), "
                     f"{found} searchable")  # fmt: skip
        self.report.add("documents", accepted=accepted, searchable=found)
        if found != accepted:
            message = f"{accepted} documents were accepted and {found} are searchable"
            raise Internal(message)

    async def _upload(self, documents: Sequence[CorpusDocument], bar: Progress, task: TaskID) -> None:
        new = [
            NewDocument(source=UPLOADED, key=d.key, content=d.text, media_type=d.media_type, title=d.title)
            for d in documents
        ]
        async for uploaded in Documents(self.connection).upload_many(new):
            if uploaded.document is None:
                message = f"{uploaded.new.key} was rejected: {uploaded.refused}"
                raise Internal(message)
            self.ids[uploaded.new.key] = uploaded.document.id
            bar.advance(task)

    async def _publish(self, documents: Sequence[CorpusDocument], bar: Progress, task: TaskID) -> None:
        """Publish with a script that uses no Tidemill code, and wait until ingest has processed every event."""
        lines = [
            json.dumps({"subject": d.key, "data": {"media_type": d.media_type, "title": d.title, "text": d.text}})
            for d in documents
        ]
        await self._publish_lines(lines)
        async with patience("ingest did not process every published document"):
            while True:
                found = [document async for document in Documents(self.connection).all(source=PUBLISHED)]
                bar.update(task, completed=len(found))
                if len(found) >= len(documents):
                    break
                await asyncio.sleep(POLL_S)
        self.ids.update((document.key, document.id) for document in found)

    async def _publish_lines(self, lines: Sequence[str]) -> None:
        arguments = upstream(self.connection, "ingest")
        await self.example.run("publish.py", [*arguments, "--source", PUBLISHED_SOURCE], "\n".join(lines))

    async def _until_searchable(self, bar: Progress, task: TaskID) -> int:
        """Wait until the live index contains all accepted documents, and return their number."""
        indexed = 0
        async with patience("not every document became searchable: see `tidemill logs rag`"):
            while True:
                request = GetCollectionRequest(id=COLLECTION)
                collection = (await self.connection.collections.GetCollection(request)).collection
                live = [index for index in collection.indexes if index.state == IndexState.INDEX_STATE_LIVE]
                indexed = live[0].documents_indexed if live else 0
                bar.update(task, completed=indexed)
                if len(self.ids) == len(self.documents) == indexed:
                    return indexed
                if live and live[0].documents_failed:
                    message = f"{live[0].documents_failed} documents could not be indexed: {live[0].message}"
                    raise Internal(message)
                await asyncio.sleep(POLL_S)

    async def retrieve(self, model: Path) -> None:
        """Measure retrieval (hit@1, hit@2), compared with one MiniLM vector per document."""
        asked = self.example.corpus().questions(list(self.documents), QUESTIONS)
        with progress() as bar:
            task = bar.add_task("searching", total=len(asked))
            hits = await self._hits(asked, bar, task)
            bar.update(task, description="baseline: one vector per document", total=None)
            plain = await self.example.run(
                "plain_retrieval.py",
                ["--model", str(model)],
                json.dumps(
                    {
                        "documents": [[document.key, document.text] for document in self.documents],
                        "questions": [[document.key, document.question] for document in asked],
                    }
                ),
            )
        figures = {f"hit_at_{k}": sum(rank <= k for rank in hits) / len(hits) for k in (1, 2)}
        self.report.add("retrieval", questions=len(asked), **figures)
        self.report.add("retrieval", **{f"plain_{name}": value for name, value in plain.items()})
        stdout.print(
            f"   {len(asked)} questions: hit@1 {figures['hit_at_1']:.1%}, hit@2 {figures['hit_at_2']:.1%} "
            f"(baseline, one MiniLM vector per document: {plain['hit_at_1']:.1%} and {plain['hit_at_2']:.1%})"
        )

    async def _hits(self, asked: Sequence[CorpusDocument], bar: Progress, task: TaskID) -> list[float]:
        """Return the rank of each question's document among the best two passages, or infinity."""
        places = asyncio.Semaphore(MAX_CONCURRENT_SEARCHES)

        async def rank(document: CorpusDocument) -> float:
            async with places:
                request = SearchRequest(collection=COLLECTION, query=document.question, top_k=2)
                passages = (await self.connection.retrieval.Search(request)).passages
            bar.advance(task)
            found = [passage.document for passage in passages]
            requested = self.ids[document.key]
            return found.index(requested) + 1 if requested in found else float("inf")

        return await asyncio.gather(*(rank(document) for document in asked))

    async def answer(self) -> None:
        """Ask questions, verify every citation, and verify that answers follow an update and a deletion."""
        asked = self.example.corpus().questions(list(self.documents), ANSWERS)
        cited = 0
        grounded: list[CorpusDocument] = []
        await until_loaded(self.connection)
        for document in asked:
            inference = await self.ask(document.question)
            self.report.add("answers", engine=engine_of(inference))
            cited += bool(await self._resolved(inference))
            if inference.passages and inference.passages[0].document == self.ids[document.key]:
                grounded.append(document)
        begins = {"first_token_s_median": median(self.first_tokens_s), "first_token_s_worst": max(self.first_tokens_s)}
        self.report.add("answers", asked=len(asked), with_citation=cited, **begins)
        published = [document for document in grounded if document in self.documents[1::2]]
        if len(grounded) < 2 or not published:  # noqa: PLR2004 - one to update and one to delete
            message = f"only {len(grounded)} of {len(asked)} questions retrieved their own document first"
            raise Internal(message)
        deleted = published[-1]
        updated = next(document for document in grounded if document is not deleted)
        await self._delete(deleted)
        await self._update(updated)
        self.facts["asked_elsewhere"] = next(each.question for each in asked if each not in {deleted, updated})

    async def ask(self, question: str) -> Inference:
        """Print an answer as it is streamed, and return it."""
        request = GenerateRequest(
            request_id=str(uuid.uuid4()),
            deployment=DEPLOYMENT,
            messages=[user(question)],
        )
        stdout.print(f"   [bold]{escape(question)}[/]", highlight=False)
        stdout.print("   ", end="")
        finished, asked_at, first = Inference(), time.monotonic(), 0.0
        async for event in self.connection.inferences.GenerateStream(GenerateStreamRequest(request=request)):
            if event.HasField("delta"):
                first = first or time.monotonic() - asked_at
                stdout.print(event.delta.text, end="", markup=False, highlight=False)
            if event.HasField("finished"):
                finished = event.finished
        stdout.print()
        self.first_tokens_s.append(first)
        for passage in finished.passages:
            mark = "cited" if passage.id in _cited(finished) else "given"
            where = f"{passage.source}/{passage.key} version {passage.version}"
            stdout.print(f"     [dim][{passage.id}] {mark}: {escape(where)}[/]", highlight=False)
        return finished

    async def _resolved(self, inference: Inference) -> set[str]:
        """Return the cited passages, after verifying each against its document's version."""
        cited, documents = _cited(inference), Documents(self.connection)
        for passage in inference.passages:
            if passage.id in cited:
                text = await documents.text(passage.document, version=passage.version)
                if text[passage.start : passage.end] != passage.text:
                    message = f"citation [{passage.id}] does not resolve to version {passage.version} of its document"
                    raise Internal(message)
        return cited

    async def _update(self, document: CorpusDocument) -> None:
        """Update a document, and wait until an answer is grounded in the new version."""
        stdout.print(f"   [italic]updating {escape(document.title)} ...[/]", highlight=False)
        documents = Documents(self.connection)
        source = (await documents.get(id=self.ids[document.key])).source
        notice = f"{document.title} is retired: use tidemill.compass instead."
        text = f"{document.title}\n\n{notice}\n\n{document.text.removeprefix(document.title).lstrip()}"
        updated = await documents.update(
            NewDocument(source=source, key=document.key, content=text, media_type="text/plain", title=document.title)
        )
        question = f"What is to be used instead of {document.title}?"  # what only the new version says
        await self._until_found(document, question, version=updated.current.number)
        inference = await self.ask(question)
        versions = {passage.version for passage in inference.passages if passage.document == updated.id}
        if versions != {updated.current.number}:
            message = f"the answer after the update is grounded in versions {versions} of {document.key}"
            raise Internal(message)

    async def _delete(self, document: CorpusDocument) -> None:
        """Delete a published document by an event, and wait until no answer uses it."""
        stdout.print(f"   [italic]deleting {escape(document.title)} by an event ...[/]", highlight=False)
        await self._publish_lines([json.dumps({"subject": document.key, "deleted": {"reason": "retired"}})])
        await self._until_found(document, document.question, version=None)
        inference = await self.ask(document.question)
        if self.ids[document.key] in {passage.document for passage in inference.passages}:
            message = f"the answer after the deletion is still grounded in {document.key}"
            raise Internal(message)
        gone = await Documents(self.connection).get(id=self.ids[document.key])
        if gone.state != DocumentState.DOCUMENT_STATE_DELETED:
            message = f"{document.key} was deleted by an event, but its state is not DELETED"
            raise Internal(message)

    async def _until_found(self, document: CorpusDocument, question: str, *, version: int | None) -> None:
        """Wait until search returns this version of the document only; None means no version."""
        request = SearchRequest(collection=COLLECTION, query=question, top_k=5)
        async with patience(f"search did not reflect the change of {document.key}"):
            while True:
                passages = (await self.connection.retrieval.Search(request)).passages
                found = {p.version for p in passages if p.document == self.ids[document.key]}
                if found == ({version} if version else set()):
                    return
                await asyncio.sleep(POLL_S)


def _cited(inference: Inference) -> set[str]:
    return {citation.passage for message in inference.output for part in message.parts for citation in part.citations}
