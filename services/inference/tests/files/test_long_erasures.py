"""An erasure goes on where it was, and the RPC that erases an end user reaches files and results of batches."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.inference.tests.batches.batch_harness import BatchHarness, request_line
from services.inference.tests.fakes import ADA
from tidemill_core.aggregate import ObjectRef
from tidemill_core.errors import DependencyUnavailable
from tidemill_inference.files import erase_lines
from tidemill_inference.files.erase_lines import EraseLines
from tidemill_inference.generation.erase_end_user import EraseEndUser
from tidemill_inference.generation.ports import ErasedLines


class Reading:
    """Contents of a harness, counted as they are read; the read of `fails` does not succeed, once."""

    def __init__(self, harness: BatchHarness) -> None:
        self._contents = harness.contents
        self.reads = Counter[str]()
        self.fails = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the rest is the harness's
        return getattr(self._contents, name)

    def local(self, content: ObjectRef) -> AbstractAsyncContextManager[Path]:
        return self._local(content)

    @asynccontextmanager
    async def _local(self, content: ObjectRef) -> AsyncIterator[Path]:
        self.reads[content.sha256] += 1
        if sum(self.reads.values()) == self.fails:
            message = "the object store does not answer"
            raise DependencyUnavailable(message, dependency="objects")
        async with self._contents.local(content) as path:
            yield path


class Files:
    """Files of a project; those of even numbers have a line of u-1."""

    def __init__(self, folder: Path) -> None:
        self.harness, self.now = BatchHarness(folder), 0.0
        self.reading = Reading(self.harness)
        self.erase = EraseLines(files=self.harness.files, contents=self.reading, clock=lambda: self.now)

    async def upload(self, number: int) -> None:
        for each in range(number):
            body = {"model": "helpdesk", "user": f"u-{1 + each % 2}", "messages": []}
            await self.harness.upload(request_line(str(each), body=body), request_id=f"r{each}")
            self.harness.clock.advance(timedelta(seconds=1))

    @property
    def kept(self) -> bytes:
        return b"".join(self.harness.objects.buckets["files"].values())


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.setattr(erase_lines, "_MAX_FILES", 2)
    monkeypatch.setattr(erase_lines, "_PAGE", 3)
    return Files(tmp_path)


async def test_an_erasure_reads_each_file_once_however_many_calls_it_takes(files: Files) -> None:
    await files.upload(11)

    assert [await files.erase("acme", "u-1") for _ in range(4)] == [2, 2, 2, 0]

    assert sum(files.reading.reads.values()) == 11
    assert b'"u-1"' not in files.kept
    assert files.kept.count(b'"u-2"') == 5


async def test_an_erasure_that_failed_goes_on_behind_what_it_has_passed(files: Files) -> None:
    await files.upload(6)
    files.reading.fails = 4
    await files.erase("acme", "u-1")
    with pytest.raises(DependencyUnavailable):
        await files.erase("acme", "u-1")

    assert [await files.erase("acme", "u-1") for _ in range(2)] == [1, 0]
    assert sum(files.reading.reads.values()) == 7


async def test_an_erasure_that_came_to_its_end_begins_with_the_first_file_again(files: Files) -> None:
    await files.upload(2)
    assert [await files.erase("acme", "u-1") for _ in range(2)] == [1, 0]

    assert await files.erase("acme", "u-1") == 0
    assert sum(files.reading.reads.values()) == 4


async def test_an_erasure_that_was_left_long_ago_begins_with_the_first_file_again(files: Files) -> None:
    await files.upload(6)
    await files.erase("acme", "u-1")
    files.now += 601

    assert [await files.erase("acme", "u-1") for _ in range(2)] == [1, 0]
    assert sum(files.reading.reads.values()) == 3 + 6


async def test_erasures_of_two_people_do_not_share_their_places(files: Files) -> None:
    await files.upload(6)

    assert [await files.erase("acme", name) for name in ("u-1", "u-2", "u-1", "u-2", "u-1", "u-2")] == [
        2, 2, 1, 1, 0, 0,
    ]  # fmt: skip
    assert b'"u-' not in files.kept


async def test_a_call_of_the_rpc_reads_some_and_says_that_there_is_more(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erase_lines, "_MAX_BYTES", 1)
    await files.upload(3)
    erase = EraseEndUser(inferences=files.harness.answers.inferences, clock=files.harness.clock, files=files.erase)

    counted = await erase(ADA, "u-1", validate_only=True)
    assert (counted.records, files.reading.reads) == (0, Counter())
    erased = [await erase(ADA, "u-1") for _ in range(3)]

    assert [(each.records, each.more) for each in erased] == [(1, True), (0, True), (1, False)]
    assert b'"u-1"' not in files.kept


async def test_an_erasure_says_that_there_is_more_as_long_as_lines_may_be_left(files: Files) -> None:
    class Left:
        async def some(self, _project: str, _end_user: str) -> ErasedLines:
            return ErasedLines(changed=0, more=True)

    erase = EraseEndUser(inferences=files.harness.answers.inferences, clock=files.harness.clock)

    assert not (await erase(ADA, "u-1")).more
    assert (await replace(erase, files=Left())(ADA, "u-1")).more
