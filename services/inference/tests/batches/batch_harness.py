"""Batches with everything around them, over stores in memory; `worker()` is a process that carries them out."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from services.inference.tests.fakes import ADA, AnsweringHarness, ScriptedEngine, asking, writing
from tidemill_core.application import Caller, ResourceKey
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_inference.batches.crud import BatchCrud, BatchRequest
from tidemill_inference.batches.domain.batch import DEFAULT_WINDOW, Batch
from tidemill_inference.batches.domain.errors import BatchNotFound
from tidemill_inference.batches.domain.lines import Result
from tidemill_inference.batches.mongo import BATCHES
from tidemill_inference.batches.places import LinePlaces
from tidemill_inference.batches.ports import AnswerLine, AskedLine, LineAnswer
from tidemill_inference.batches.run_batch import LineLimits, RunBatch
from tidemill_inference.batches.write_results import WriteResults
from tidemill_inference.embeddings.embed import EmbedTexts
from tidemill_inference.embeddings.ports import Embedded
from tidemill_inference.files.crud import FileCrud
from tidemill_inference.files.domain.errors import FileNotFound
from tidemill_inference.files.domain.stored_file import FilePurpose, StoredFile
from tidemill_inference.files.mongo import FILES
from tidemill_inference.files.object_contents import ObjectContents
from tidemill_inference.openai_api.batch_lines import AnswerLines
from tidemill_kit.store.objects import ExchangeBucket
from tidemill_testkit.objects import InMemoryObjects
from tidemill_testkit.stores import InMemoryAggregates

BOB = Caller(project="acme", subject="user:bob", roles=frozenset({"contributor"}), credential="bob's key")
BUCKET = "files"
ENDPOINT = "/v1/chat/completions"
MAX_FILE_BYTES = 100_000
MAX_WORDS = 9
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024


def request_line(custom_id: str, text: str = "What does os.walk do?", **changes: object) -> str:
    body = {"model": "helpdesk", "messages": [{"role": "user", "content": text}]}
    line = {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body}
    return json.dumps({**line, **changes})


@dataclass
class FakeResults:
    """Implements `ports.Results`; it dies before it keeps the line `dies_before`, if the test says so."""

    rows: dict[ResourceKey, dict[int, Result]] = field(default_factory=dict)
    dies_before: int = 0

    async def done(self, batch: ResourceKey) -> Mapping[int, bool]:
        return {line: result.ok for line, result in self.rows.get(batch, {}).items()}

    async def add(self, batch: ResourceKey, result: Result) -> None:
        if result.line == self.dies_before:
            message = "killed"
            raise ProcessKilled(message)
        result.text.encode()  # as MongoDB does
        if len(result.text) > MAX_DOCUMENT_BYTES:
            message = "MongoDB takes no document of more"
            raise ValueError(message)
        self.rows.setdefault(batch, {}).setdefault(result.line, result)

    async def all(self, batch: ResourceKey) -> AsyncIterator[Result]:
        for _, result in sorted(self.rows.get(batch, {}).items()):
            yield result

    async def remove(self, batch: ResourceKey) -> None:
        self.rows.pop(batch, None)

    async def remove_of(self, batch: ResourceKey, end_users: Collection[str]) -> None:
        for line, result in [*self.rows.get(batch, {}).items()]:
            if result.end_user in end_users:
                del self.rows[batch][line]


class ProcessKilled(Exception):
    """The worker's process is gone."""


@dataclass
class FakeLive:
    """Places for answers, as many of them held and waited for as the test says."""

    held: int = 0
    waiting: int = 0


@dataclass
class FakeAuthors:
    """Implements `ports.Authors`."""

    gone: bool = False

    def revoked(self, _batch: Batch) -> bool:
        return self.gone


class FakeEmbedder:
    """Implements `embeddings.ports.Embedder`: the model `words`, which takes 9 words, and the collection `handbook`."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    async def embed(self, caller: Caller, *, model: str, collection: str, texts: Sequence[str]) -> Embedded:
        assert caller.project
        if (model, collection) not in {("words", ""), ("", "handbook")}:
            message = f"there is no model {model or collection}"
            raise NotFound(message)
        self.calls.append(len(texts))
        for number, text in enumerate(texts):
            if len(text.split()) > MAX_WORDS:
                refusal = InvalidInput.at(
                    field=f"texts[{number}]", text="This model's maximum context length is 9 tokens"
                )
                refusal.reason = "TEXT_TOO_LONG"
                raise refusal
        vectors = [[0.6, 0.0, 0.8] if "tree" in text else [1.0, 0.0, 0.0] for text in texts]
        return Embedded(model="words@1", vectors=vectors, input_tokens=sum(len(text.split()) for text in texts))


class Answers(Protocol):
    """Answers each line at once and whole."""

    async def __call__(self, caller: Caller, endpoint: str, body: bytes, /, *, request_id: str) -> LineAnswer: ...


@dataclass(frozen=True)
class _Whole:
    """Implements `ports.AskedLine`."""

    answers: Callable[[], Awaitable[LineAnswer]]
    held = False

    async def go_on(self) -> LineAnswer:
        return await self.answers()


def answered_by(answers: Answers | AnswerLines) -> AnswerLine:
    """Return what answers lines as a function does, or as they are answered."""
    if isinstance(answers, AnswerLines):
        return answers

    def ask(caller: Caller, endpoint: str, body: bytes, *, request_id: str) -> AskedLine:
        return _Whole(partial(answers, caller, endpoint, body, request_id=request_id))

    return ask


async def _no_pause(_seconds: float) -> None:
    """Waits for nothing."""


class BatchHarness:
    def __init__(self, folder: Path, engine: ScriptedEngine | None = None, **options: Any) -> None:  # noqa: ANN401 - of the answers
        self.answers = AnsweringHarness(engine, **options)
        self.clock = self.answers.clock
        self.objects = InMemoryObjects(BUCKET)
        self.contents = ObjectContents(
            ExchangeBucket(self.objects, BUCKET), folder, max_bytes=MAX_FILE_BYTES, setting="INFERENCE_FILE_MAX_MB"
        )
        self.files: InMemoryAggregates[StoredFile] = InMemoryAggregates(
            codec=FILES, missing=FileNotFound, clock=self.clock
        )
        self.batches: InMemoryAggregates[Batch] = InMemoryAggregates(
            codec=BATCHES, missing=BatchNotFound, clock=self.clock
        )
        self.results, self.authors, self.live = FakeResults(), FakeAuthors(), FakeLive()
        self.file_crud = FileCrud(files=self.files, contents=self.contents, clock=self.clock, keep=timedelta(days=30))
        self.gone: dict[str, datetime] = {}
        """The end users that were erased, and until when."""
        self.enqueued: list[ResourceKey] = []
        self.crud = BatchCrud(batches=self.batches, files=self.files, clock=self.clock, enqueue=self.enqueued.append)

    async def erased(self, project: str, end_users: Collection[str]) -> Mapping[str, datetime]:
        assert project == "acme"
        return {name: self.gone[name] for name in end_users if name in self.gone}

    def lines(self) -> AnswerLines:
        embed, answer = EmbedTexts(embedder=FakeEmbedder()), replace(self.answers.answer, weight=0.5)
        return AnswerLines(answer=answer, embed=embed, issue=lambda _project, _id: "")

    def worker(
        self,
        *,
        at_once: int = 1,
        answer: Answers | AnswerLines | None = None,
        max_lines: int = 100,
        turn: timedelta = timedelta(days=30),
        sleep: Callable[[float], Awaitable[None]] = _no_pause,
    ) -> RunBatch:
        return RunBatch(
            batches=self.batches,
            files=self.files,
            contents=self.contents,
            results=self.results,
            write=WriteResults(
                results=self.results,
                files=self.files,
                contents=self.contents,
                erased=self.erased,
                clock=self.clock,
                keep=timedelta(days=30),
            ),
            answer=answered_by(answer or self.lines()),
            authors=self.authors,
            erased=self.erased,
            places=LinePlaces(self.live, at_most=at_once, poll_interval_s=0.001),
            limits=LineLimits(lines=max_lines, line_bytes=4096, at_once=at_once),
            clock=self.clock,
            tick=timedelta(seconds=0.01),
            turn=turn,
            sleep=sleep,
        )

    async def upload(self, *lines: str, caller: Caller = ADA, request_id: str = "") -> StoredFile:
        async def chunks() -> AsyncIterator[bytes]:
            yield "\n".join(lines).encode()

        return await self.file_crud.upload(
            caller, filename="in.jsonl", purpose=FilePurpose.BATCH, chunks=chunks(), request_id=request_id
        )

    async def begin(
        self, *lines: str, caller: Caller = ADA, window: timedelta = DEFAULT_WINDOW, endpoint: str = ENDPOINT
    ) -> Batch:
        file = await self.upload(*lines, caller=caller)
        given = BatchRequest(endpoint=endpoint, input_file=file.id, completion_window=window)
        return await self.crud.create(caller, given, writing(f"begin {file.id}"))

    async def carry_out(self, batch: Batch, worker: RunBatch | None = None, *, epoch: int = 1) -> Batch:
        await (worker or self.worker())(ResourceKey(project=batch.project, id=batch.id), epoch=epoch)
        return await self.batches.get(batch.project, batch.id)

    async def cancel(self, batch: Batch, caller: Caller = ADA) -> Batch:
        return await self.crud.cancel(caller, batch.id, request=asking(f"cancel {batch.id}"))

    async def written(self, file_id: str) -> list[dict[str, Any]]:
        """Return the lines of a file."""
        file = await self.files.get(ADA.project, file_id)
        async with self.contents.local(file.content) as path:
            return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
