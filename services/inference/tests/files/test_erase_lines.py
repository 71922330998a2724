"""What is left of a person in files, and which files are past their time."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from services.inference.tests.batches.batch_harness import BatchHarness, ProcessKilled, request_line
from services.inference.tests.fakes import ADA, writing
from tidemill_core.application import Caller, ResourceKey
from tidemill_core.errors import RateLimited, RequestIdReused
from tidemill_core.resources import delete
from tidemill_inference.batches import forget_batches
from tidemill_inference.batches.forget_batches import ForgetBatches
from tidemill_inference.batches.mongo import MongoOldBatches
from tidemill_inference.files import erase_lines, forget_files
from tidemill_inference.files.erase_lines import EraseLines
from tidemill_inference.files.forget_files import ForgetFiles
from tidemill_inference.files.mongo import MongoOldFiles
from tidemill_kit.grpc.uploads import Patience, UploadPlaces
from tidemill_testkit.polling import eventually
from tidemill_testkit.stores import InMemoryCollection

BOB = Caller(project="acme", subject="user:bob", roles=frozenset({"contributor"}))
ASKED = {"model": "helpdesk", "messages": [{"role": "user", "content": "Who am I?"}]}


async def test_a_persons_lines_are_emptied_in_requests_and_in_answers_and_the_others_stay(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    batch = await harness.carry_out(
        await harness.begin(
            request_line("a", body={**ASKED, "user": "u-1"}),
            request_line("b", body={**ASKED, "user": "u-2"}),
            request_line("c", body={**ASKED, "safety_identifier": "u-1"}),
            "no JSON, and no name",
        )
    )
    erase = EraseLines(files=harness.files, contents=harness.contents)

    assert await erase("acme", "u-1") == 2
    assert await erase("acme", "u-1") == 0
    assert await erase("globex", "u-2") == 0

    left = {each["custom_id"] for file in (batch.output_file,) for each in await harness.written(file)}
    file = await harness.files.get("acme", batch.input_file)
    async with harness.contents.local(file.content) as path:
        lines = path.read_text().splitlines()
    assert left == {"b"}
    assert [bool(line) for line in lines] == [False, True, False, True]
    assert json.loads(lines[1])["custom_id"] == "b"
    assert b"u-1" not in b"".join(harness.objects.buckets["files"].values())


async def test_lines_without_a_name_are_of_who_made_the_file(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    batch = await harness.carry_out(await harness.begin(request_line("a"), request_line("b"), caller=BOB))
    vectors = request_line("c", url="/v1/embeddings", body={"model": "words", "input": "my tree"})
    embedded = await harness.carry_out(await harness.begin(vectors, caller=BOB, endpoint="/v1/embeddings"))
    erase = EraseLines(files=harness.files, contents=harness.contents)

    assert await erase("acme", "user:eve") == 0
    assert await erase("acme", BOB.subject) == 4
    assert await erase("acme", BOB.subject) == 0
    for file in (batch.input_file, batch.output_file, embedded.input_file, embedded.output_file):
        assert await harness.written(file) == []


async def test_results_say_whose_they_are_until_they_are_in_files(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    asked = await harness.begin(request_line("a"), request_line("b"), caller=BOB)
    harness.results.dies_before = 2
    with pytest.raises(ProcessKilled):
        await harness.carry_out(asked)

    assert [each.end_user for rows in harness.results.rows.values() for each in rows.values()] == [BOB.subject]


async def test_no_line_of_a_file_stops_an_erasure(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    await harness.upload("[" * 50_000, request_line("a", body={**ASKED, "user": "u-1"}))
    erase = EraseLines(files=harness.files, contents=harness.contents)

    assert await erase("acme", "u-1") == 1
    assert await erase("acme", "u-1") == 0


async def test_a_line_too_long_to_be_read_goes_where_it_has_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erase_lines, "_MAX_PARSED_BYTES", 300)
    harness = BatchHarness(tmp_path)
    long = f'{{"user": "Zoë", {"x" * 300}'
    file = await harness.upload(long, request_line("b", "x" * 300))
    erase = EraseLines(files=harness.files, contents=harness.contents)

    assert await erase("acme", "Zoë") == 1
    assert [each["custom_id"] for each in await harness.written(file.id)] == ["b"]


async def test_two_erasures_at_the_same_time_both_empty_their_lines(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    people = ["u-1", "u-2", "u-1", "u-3"]
    lines = [request_line(str(n), body={**ASKED, "user": name}) for n, name in enumerate(people)]
    file = await harness.upload(*lines)

    async def erased(name: str) -> None:
        erase = EraseLines(files=harness.files, contents=harness.contents)
        while await erase("acme", name):
            pass

    for _ in range(2):
        await asyncio.gather(erased("u-1"), erased("u-2"), erased("u-1"))
        assert [each["custom_id"] for each in await harness.written(file.id)] == ["3"]
        assert len(harness.objects.buckets["files"]) == 1


async def test_what_a_deletion_left_behind_goes_with_the_next_erasure(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    file = await harness.upload(request_line("a", body={**ASKED, "user": "u-1"}))
    await delete(harness.files, "acme", file.id, writing("delete"))  # and the process ends

    assert await EraseLines(files=harness.files, contents=harness.contents)("acme", "u-1") == 0
    assert harness.objects.buckets["files"] == {}


async def test_an_upload_that_is_refused_or_comes_too_late_leaves_no_bytes(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    asked = request_line("a", body={**ASKED, "user": "u-1"})
    file = await harness.upload(asked, request_id="k")
    with pytest.raises(RequestIdReused):
        await harness.upload("other", request_id="k")
    assert len(harness.objects.buckets["files"]) == 1

    await EraseLines(files=harness.files, contents=harness.contents)("acme", "u-1")
    assert (await harness.upload(asked, request_id="k")).id == file.id
    assert b"u-1" not in b"".join(harness.objects.buckets["files"].values())

    await harness.file_crud.delete(ADA, file.id, writing("delete"))
    await harness.upload(asked, request_id="k")
    assert harness.objects.buckets["files"] == {}


async def test_a_project_reads_no_more_contents_at_once_than_it_has_places(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    file = await harness.upload(request_line("a"))
    places = UploadPlaces(Patience(max_concurrent=2, of_project=2, idle_s=1, whole_s=1), kind="downloads")
    crud, ends = replace(harness.file_crud, reading=places.held), asyncio.Event()

    paths = list[Path]()

    async def read() -> None:
        async with crud.content(ADA, file.id) as (_, path):
            paths.append(path)
            await ends.wait()

    reading = [asyncio.create_task(read()) for _ in range(2)]
    await eventually(lambda: len(paths) == 1)
    await asyncio.sleep(0.05)
    assert len(paths) == 1
    with pytest.raises(RateLimited, match="2 downloads of the project"):
        await read()
    ends.set()
    await asyncio.gather(*reading)


class FakeOldFiles:
    """Implements `ports.OldFiles` over the files of a harness."""

    def __init__(self, harness: BatchHarness) -> None:
        self.harness = harness

    async def expired(self, now: object, *, spares: Callable[[str], bool], limit: int) -> list[ResourceKey]:
        old = [each for each in self.harness.files.all() if each.expire_time < now]  # type: ignore[operator]
        return [self._key(each) for each in old if not spares(each.project)][:limit]

    async def before(self, project: str, created: object, *, limit: int) -> list[ResourceKey]:
        return [
            self._key(each)
            for each in self.harness.files.all()
            if each.project == project and each.create_time < created  # type: ignore[operator]
        ][:limit]

    async def remove(self, file: ResourceKey) -> None:
        self.harness.files.remove(file.project, file.id)

    @staticmethod
    def _key(file: object) -> ResourceKey:
        return ResourceKey(project=file.project, id=file.id)  # type: ignore[attr-defined]


class FakeOldBatches:
    """Implements `batches.ports.OldBatches`: batches that ended long ago."""

    def __init__(self, ended: list[ResourceKey]) -> None:
        self.ended = ended

    async def ended_before(
        self, _time: datetime, *, spares: Callable[[str], bool], limit: int
    ) -> Sequence[ResourceKey]:
        return [each for each in self.ended if not spares(each.project)][:limit]

    async def remove(self, batch: ResourceKey) -> None:
        self.ended.remove(batch)


class FakeRetained:
    """Implements `ports.Retained`."""

    def __init__(self) -> None:
        self.keep: dict[str, timedelta] = {}
        self.held: set[str] = set()

    def projects(self) -> dict[str, timedelta]:
        return self.keep

    def spares(self, project: str) -> bool:
        return project in self.held


async def test_a_file_goes_with_its_content_when_its_time_or_that_of_its_project_is_over(tmp_path: Path) -> None:
    harness, retained = BatchHarness(tmp_path), FakeRetained()
    forget = ForgetFiles(files=FakeOldFiles(harness), contents=harness.contents, retained=retained, clock=harness.clock)
    await harness.upload(request_line("a"))
    harness.clock.advance(timedelta(days=29))
    assert await forget() == 0

    retained.keep, retained.held = {"acme": timedelta(days=28)}, {"acme"}
    assert await forget() == 0
    retained.held = set()
    assert await forget() == 1
    assert harness.objects.buckets["files"] == {}

    retained.keep = {}
    await harness.upload(request_line("b"))
    harness.clock.advance(timedelta(days=31))
    retained.held = {"acme"}
    assert await forget() == 0
    retained.held = set()
    assert (await forget(), harness.files.all()) == (1, [])


async def test_one_sweep_removes_all_that_is_past_its_time_however_much_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forget_files, "_BATCH_SIZE", 2)
    monkeypatch.setattr(forget_batches, "_BATCH_SIZE", 2)
    harness, retained = BatchHarness(tmp_path), FakeRetained()
    files = ForgetFiles(files=FakeOldFiles(harness), contents=harness.contents, retained=retained, clock=harness.clock)
    for number in range(5):
        await harness.upload(request_line(str(number)))
    harness.clock.advance(timedelta(days=2))
    retained.keep = {"acme": timedelta(days=1)}
    assert await files() == 5

    for number in range(5):
        await harness.upload(request_line(str(number)))
    retained.keep = {}
    harness.clock.advance(timedelta(days=31))
    assert await files() == 5

    old = FakeOldBatches([ResourceKey(project="acme", id=str(number)) for number in range(5)])
    batches = ForgetBatches(
        batches=old, results=harness.results, retained=retained, clock=harness.clock, keep=timedelta(days=30)
    )
    assert (await batches(), old.ended) == (5, [])


async def test_what_is_held_keeps_no_other_project_from_being_swept() -> None:
    stored, now = InMemoryCollection(), datetime(2026, 5, 1, tzinfo=UTC)
    for project in ("held", "held", "acme"):
        number = len(stored.all())
        state = {"expire_time": now - timedelta(days=1), "finish_time": now - timedelta(days=1), "pending": False}
        stored.put({"_id": f"{project}/{number}", "project": project, "id": str(number), "state": state})
    files, batches = MongoOldFiles(cast("Any", stored)), MongoOldBatches(cast("Any", stored))

    def spares(project: str) -> bool:
        return project == "held"

    for old in (
        await files.expired(now, spares=spares, limit=2),
        await batches.ended_before(now, spares=spares, limit=2),
    ):
        assert old == [ResourceKey(project="acme", id="2")]
    assert len(await files.expired(now, spares=lambda _: False, limit=2)) == 2


async def test_the_same_upload_again_is_the_same_file_and_another_one_is_refused_by_its_key(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    first = await harness.upload(request_line("a"), request_id="k")
    assert (await harness.upload(request_line("a"), request_id="k")).id == first.id
    assert len(harness.files.all()) == 1
    assert first.creator == ADA.subject
