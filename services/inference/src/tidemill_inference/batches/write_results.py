"""Write what came of a batch's lines to its two files."""

import asyncio
import os
from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tidemill_core.application import Clock, Request, ResourceKey
from tidemill_inference.batches.domain.batch import Batch
from tidemill_inference.batches.domain.errors import BatchLeaseLost
from tidemill_inference.batches.ports import ErasedEndUsers, Results
from tidemill_inference.files.domain.stored_file import FilePurpose, StoredFile, file_id_of
from tidemill_inference.files.ports import Contents, Files


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteResults:
    """Repeating it writes the same files again: their ids are made of the batch's."""

    results: Results
    files: Files
    contents: Contents
    erased: ErasedEndUsers
    clock: Clock
    keep: timedelta

    async def __call__(self, batch: Batch, *, epoch: int) -> tuple[str, str]:
        """Return the ids of the files with the answers and with the errors, "" where there is none.

        Raises:
            BatchLeaseLost: a later holder of the lease has written them.

        """
        while True:
            written, people = await self._written(batch, epoch)
            erased = await self.erased(batch.project, people)
            late = {name for name, until in erased.items() if batch.predates([until])}
            if not late:
                return written
            await self.results.remove_of(ResourceKey(project=batch.project, id=batch.id), late)

    async def _written(self, batch: Batch, epoch: int) -> tuple[tuple[str, str], Collection[str]]:
        """Return the ids of the files, and the end users that have something in them."""
        people = set[str]()
        async with AsyncExitStack() as stack:
            paths = [await stack.enter_async_context(self.contents.scratch()) for _ in range(2)]
            answers, errors = (stack.enter_context(path.open("w", encoding="utf-8")) for path in paths)
            async for result in self.results.all(ResourceKey(project=batch.project, id=batch.id)):
                (answers if result.ok else errors).write(f"{result.text}\n")
                people.add(result.end_user)
            answers.flush()
            errors.flush()
            output = await self._file(batch, "output", paths[0], epoch)
            return (output, await self._file(batch, "error", paths[1], epoch)), people

    async def _file(self, batch: Batch, kind: str, path: Path, epoch: int) -> str:
        file_id = file_id_of(batch.project, f"{batch.id}-{kind}")
        empty = not await asyncio.to_thread(os.path.getsize, path)
        if empty and not await self.files.get_many(batch.project, [file_id]):
            return ""
        content = await self.contents.put(batch.project, file_id, path)
        fresh = StoredFile(
            id=file_id,
            project=batch.project,
            filename=f"{batch.id}_{kind}.jsonl",
            purpose=FilePurpose.BATCH_OUTPUT,
            content=content,
            creator=batch.creator,
            batch=batch.id,
            epoch=epoch,
            expire_time=self.clock.now() + self.keep,
        )

        before = [content]

        def begin(stored: StoredFile) -> None:
            if stored.epoch > epoch:
                raise BatchLeaseLost(batch.id)
            before[:] = [stored.content]
            stored.content, stored.expire_time, stored.deleted = content, fresh.expire_time, False
            stored.epoch = epoch

        await self.files.upsert(fresh, begin, request=Request.internal())
        for each in before:
            if each != content:
                await self.contents.remove(each)
        return file_id
