"""A batch from its file to its results, which goes on where it was when the same command is typed again."""

import asyncio
import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Self

from tidemill.inference.v1.batch_pb2 import Batch
from tidemill_cli.output import writing, written
from tidemill_client.batches import Batches
from tidemill_client.connection import Connection
from tidemill_client.stored_files import StoredFiles
from tidemill_core.errors import InvalidInput, NotFound, PreconditionFailed

_GRACE_S = 3600.0
"""To write the results after the window."""
_MAX_LINE_BYTES = 64 * 1024 * 1024


class AnotherBatchBegun(PreconditionFailed):
    """A batch of another file or project was begun for the same results."""

    reason = "ANOTHER_BATCH_BEGUN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Where results, errors and, until these are there, what the batch is go."""

    results: Path
    errors: Path
    state: Path

    @classmethod
    def of(cls, file: Path, chosen: Path | None) -> Self:
        """Return the paths beside the chosen one, or beside the file with the requests."""
        results = chosen or file.with_name(f"{file.stem}.results.jsonl")
        stem = results.name.removesuffix(".jsonl").removesuffix(".results")
        return cls(
            results=results,
            errors=results.with_name(f"{stem}.errors.jsonl"),
            state=results.with_name(f".{results.name}.batch"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A batch that was begun, or is about to be: the request id makes a repeated beginning the same one."""

    project: str
    sha256: str
    request_id: str
    batch: str = ""

    @classmethod
    def at(cls, path: Path) -> Self | None:
        """Return what an interrupted run left; None for nothing."""
        try:
            found = json.loads(path.read_bytes())
            return cls(**{name: str(found[name]) for name in ("project", "sha256", "request_id", "batch")})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            text = "is not what `tidemill batches run` left there: delete it"
            raise InvalidInput.at(field=str(path), text=text) from error

    def write(self, path: Path) -> None:
        """Keep it, whole or not at all."""
        partial = path.with_name(f"{path.name}.part")
        with writing(path):
            partial.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
            partial.replace(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """What is called with the progress of an upload, in bytes, and of the batch."""

    upload: Callable[[int], None]
    batch: Callable[[Batch], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRun:
    """One file of requests in one project."""

    file: Path
    outputs: Outputs
    window: timedelta
    labels: Mapping[str, str]
    anew: bool = False
    """Begin another batch where an interrupted one is there; that one goes on by itself."""

    async def __call__(self, connection: Connection, watching: Watching) -> Batch:
        """Return the batch at its end; its results are written.

        Raises:
            InvalidInput: the file cannot be read, changes or has no request, or something is refused.
            AnotherBatchBegun: an interrupted run of something else would lose its results.
            DeadlineExceeded: the window is over, and the batch not at its end.

        """
        self._check_outputs()
        endpoint, sha256 = await asyncio.to_thread(_read, self.file)
        begun = self._begun(connection.project, sha256)
        batch = await _found(connection, begun) if begun.batch else None
        if batch is None:
            batch = await self._begin(connection, begun, endpoint, watching)
        window_s = batch.completion_window.ToTimedelta().total_seconds()
        batch = await Batches(connection).wait(batch.id, within_s=window_s + _GRACE_S, watch=watching.batch)
        await self._write(connection, batch)
        return batch

    def _check_outputs(self) -> None:
        if self.file.resolve() in {path.resolve() for path in (self.outputs.results, self.outputs.errors)}:
            text = "has the requests, which results or errors would replace: choose other ones with --output"
            raise InvalidInput.at(field=str(self.file), text=text)

    def _begun(self, project: str, sha256: str) -> Begun:
        begun = None if self.anew else Begun.at(self.outputs.state)
        same = begun is not None and (begun.project, begun.sha256) == (project, sha256)
        if begun is not None and begun.batch and not same:
            what = "its requests were others" if begun.project == project else f"it is of the project {begun.project}"
            message = (
                f"{begun.batch} was begun with these results, and {what}: choose other ones with --output, "
                "or add --anew (`tidemill batches results` fetches what comes of it)"
            )
            raise AnotherBatchBegun(message, batch=begun.batch)
        if begun is None or not same:
            begun = Begun(project=project, sha256=sha256, request_id=str(uuid.uuid4()))
            begun.write(self.outputs.state)
        return begun

    async def _begin(self, connection: Connection, begun: Begun, endpoint: str, watching: Watching) -> Batch:
        if begun.batch:  # it is past its time, and nothing of it is left
            begun = replace(begun, request_id=str(uuid.uuid4()), batch="")
            begun.write(self.outputs.state)
        uploads, batches = StoredFiles(connection), Batches(connection)
        file = await uploads.upload(self.file, request_id=begun.request_id, progress=watching.upload)
        if file.sha256 != begun.sha256:
            raise InvalidInput.at(field=str(self.file), text="changed while it was uploaded: type the command again")
        batch = await batches.create(
            file.id,
            endpoint=endpoint,
            completion_window=self.window,
            labels=self.labels,
            request_id=begun.request_id,
        )
        replace(begun, batch=batch.id).write(self.outputs.state)
        return batch

    async def _write(self, connection: Connection, batch: Batch) -> None:
        for path, file in ((self.outputs.results, batch.output_file), (self.outputs.errors, batch.error_file)):
            if file:
                await written(StoredFiles(connection).content(file), path)
            else:
                with writing(path):
                    path.unlink(missing_ok=True)  # of an earlier run
        self.outputs.state.unlink(missing_ok=True)


async def _found(connection: Connection, begun: Begun) -> Batch | None:
    try:
        return await Batches(connection).get(begun.batch)
    except NotFound:
        return None


def _read(file: Path) -> tuple[str, str]:
    """Return what the first request asks, which is what the batch asks, and the sha256 of the file.

    Raises:
        InvalidInput: it cannot be read, or has no request.

    """
    try:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
            opened.seek(0)
            lines = iter(lambda: opened.readline(_MAX_LINE_BYTES), b"")
            numbered = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
            number, first = next(numbered, (0, b""))
    except OSError as error:
        raise InvalidInput.at(field=str(file), text=f"cannot be read: {error.strerror or error}") from error
    if not first:
        raise InvalidInput.at(field=str(file), text="has no request: write one object a line")
    try:
        endpoint = json.loads(first)["url"]
    except (ValueError, KeyError, TypeError, RecursionError):
        endpoint = None
    if not isinstance(endpoint, str) or not endpoint:
        example = '{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {...}}'
        raise InvalidInput.at(field=f"{file}:{number}", text=f"is no request: write {example}")
    return endpoint, digest
