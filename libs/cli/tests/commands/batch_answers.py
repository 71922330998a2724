# ruff: noqa: ANN401 - messages of many kinds
"""Files and batches in memory: each time that a batch is read, one more of its lines is answered."""

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from tidemill.inference.v1 import batch_pb2
from tidemill.inference.v1 import batch_service_pb2 as pb
from tidemill.inference.v1 import file_service_pb2 as files_pb
from tidemill.inference.v1.batch_pb2 import Batch
from tidemill.inference.v1.file_pb2 import FILE_PURPOSE_BATCH_OUTPUT, File
from tidemill_core.errors import NotFound, TidemillError

FILE = File(id="file-1", filename="asked.jsonl", size=12, creator="user:ada", purpose=FILE_PURPOSE_BATCH_OUTPUT)
BATCH = Batch(
    id="batch_1",
    endpoint="/v1/chat/completions",
    state=batch_pb2.BATCH_STATE_IN_PROGRESS,
    input_file="file-1",
    total=50,
    completed=12,
    failed=1,
    labels={"team": "search"},
)


def request_line(number: int, *, text: str = "How?") -> str:
    body = {"model": "helpdesk", "messages": [{"role": "user", "content": text}]}
    return json.dumps({"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": body})


class BatchAnswers:
    """As strict as inference on ids of requests: a repeated one returns what it made."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {FILE.id: FILE}
        self.contents: dict[str, bytes] = {FILE.id: b'{"id": "1"}\n'}
        self.batches: dict[str, Batch] = {BATCH.id: BATCH}
        self.calls: list[str] = []
        self.errors: list[TidemillError | None] = []
        """Of the next reads of batches, one each."""
        self.lost: list[TidemillError] = []
        """Of the next creations, one each: the batch is there, and its answer is not."""
        self.cut: int | None = None
        """How much of a file comes in, as if it was changed meanwhile."""

    def answers(self) -> dict[str, Callable[[Any], Any]]:
        """Return what serves them."""
        files, batches = "inference.v1.file_service", "inference.v1.batch_service"
        return {
            f"{files}:UploadFile": self._upload,
            f"{files}:GetFile": lambda r: files_pb.GetFileResponse(file=_in(self.files, r.id)),
            f"{files}:ListFiles": self._list_files,
            f"{files}:DownloadFile": self._download,
            f"{files}:DeleteFile": lambda r: files_pb.DeleteFileResponse(file=self.files.pop(r.id)),
            f"{batches}:CreateBatch": self._create,
            f"{batches}:GetBatch": self._get,
            f"{batches}:ListBatches": lambda _: pb.ListBatchesResponse(batches=self.batches.values()),
            f"{batches}:CancelBatch": self._cancel,
        }

    async def _upload(self, messages: AsyncIterator[files_pb.UploadFileRequest]) -> files_pb.UploadFileResponse:
        start = (await anext(messages)).start
        content = b"".join([message.chunk async for message in messages])[: self.cut]
        self.calls.append(f"upload {start.filename}")
        return files_pb.UploadFileResponse(file=self._store(f"file-{start.request_id}", content, name=start.filename))

    def _store(self, file: str, content: bytes, *, name: str) -> File:
        digest = hashlib.sha256(content).hexdigest()
        stored = self.files.setdefault(file, File(id=file, filename=name, size=len(content), sha256=digest))
        assert stored.sha256 == digest
        self.contents[file] = content
        return stored

    def _list_files(self, request: files_pb.ListFilesRequest) -> files_pb.ListFilesResponse:
        assert request.filter in ("", 'purpose = "BATCH_OUTPUT"')
        return files_pb.ListFilesResponse(files=self.files.values())

    async def _download(self, request: files_pb.DownloadFileRequest) -> AsyncIterator[files_pb.DownloadFileResponse]:
        content = self.contents[request.id]
        for piece in (content[:5], content[5:]):
            yield files_pb.DownloadFileResponse(chunk=piece)

    def _create(self, request: pb.CreateBatchRequest) -> pb.CreateBatchResponse:
        self.calls.append(f"create {request.batch.endpoint}")
        batch = Batch(id=f"batch_{request.request_id}", state=batch_pb2.BATCH_STATE_VALIDATING)
        batch.MergeFrom(request.batch)
        batch.total = len(self._lines(batch))
        if batch.id not in self.batches:
            self.batches[batch.id] = batch
        if self.lost:
            raise self.lost.pop()
        return pb.CreateBatchResponse(batch=self.batches[batch.id])

    def _get(self, request: pb.GetBatchRequest) -> pb.GetBatchResponse:
        if self.errors and (error := self.errors.pop(0)):
            raise error
        batch = _in(self.batches, request.id)
        if batch is not BATCH and batch.state != batch_pb2.BATCH_STATE_COMPLETED:
            self._proceed(batch)
        return pb.GetBatchResponse(batch=batch)

    def _proceed(self, batch: Batch) -> None:
        lines, done = self._lines(batch), batch.completed + batch.failed
        if done == len(lines):
            batch.state = batch_pb2.BATCH_STATE_COMPLETED
            fine, wrong = ([line for line in lines if (b"fail" in line) is failed] for failed in (False, True))
            for field, kept in (("output", fine), ("error", wrong)):
                if kept:
                    stored = self._store(f"{batch.id}-{field}", b"".join(kept), name=f"{field}.jsonl")
                    setattr(batch, f"{field}_file", stored.id)
            return
        batch.state = batch_pb2.BATCH_STATE_IN_PROGRESS
        failed = b"fail" in lines[done]
        batch.failed, batch.completed = batch.failed + failed, batch.completed + (not failed)

    def _cancel(self, request: pb.CancelBatchRequest) -> pb.CancelBatchResponse:
        cancelled = Batch(state=batch_pb2.BATCH_STATE_CANCELLING)
        found = Batch()
        found.CopyFrom(_in(self.batches, request.id))
        found.MergeFrom(cancelled)
        return pb.CancelBatchResponse(batch=found)

    def _lines(self, batch: Batch) -> list[bytes]:
        return self.contents[batch.input_file].splitlines(keepends=True)


def _in(known: dict[str, Any], name: str) -> Any:
    if name not in known:
        message = f"there is no {name}"
        raise NotFound(message)
    return known[name]
