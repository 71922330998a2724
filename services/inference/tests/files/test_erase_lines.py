"""What is left of a person in files, and which files are past their time."""

import json
from datetime import timedelta
from pathlib import Path

from services.inference.tests.batches.batch_harness import BatchHarness, request_line
from services.inference.tests.fakes import ADA
from tidemill_core.application import ResourceKey
from tidemill_inference.files.erase_lines import EraseLines
from tidemill_inference.files.forget_files import ForgetFiles

ASKED = {"model": "helpdesk", "messages": [{"role": "user", "content": "Who am I?"}]}


async def test_a_persons_lines_are_emptied_in_requests_and_in_answers_and_the_others_stay(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    batch = await harness.carry_out(
        await harness.begin(
            request_line("a", body={**ASKED, "user": "u-1"}),
            request_line("b", body={**ASKED, "user": "u-2"}),
            request_line("c", body={**ASKED, "safety_identifier": "u-1"}),
            "no JSON, of nobody",
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


class FakeOldFiles:
    """Implements `ports.OldFiles` over the files of a harness."""

    def __init__(self, harness: BatchHarness) -> None:
        self.harness = harness

    async def expired(self, now: object, *, limit: int) -> list[ResourceKey]:
        assert limit
        return [self._key(each) for each in self.harness.files.all() if each.expire_time < now]  # type: ignore[operator]

    async def before(self, project: str, created: object, *, limit: int) -> list[ResourceKey]:
        assert limit
        return [
            self._key(each)
            for each in self.harness.files.all()
            if each.project == project and each.create_time < created  # type: ignore[operator]
        ]

    async def remove(self, file: ResourceKey) -> None:
        self.harness.files.remove(file.project, file.id)

    @staticmethod
    def _key(file: object) -> ResourceKey:
        return ResourceKey(project=file.project, id=file.id)  # type: ignore[attr-defined]


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


async def test_the_same_upload_again_is_the_same_file_and_another_one_is_refused_by_its_key(tmp_path: Path) -> None:
    harness = BatchHarness(tmp_path)
    first = await harness.upload(request_line("a"), request_id="k")
    assert (await harness.upload(request_line("a"), request_id="k")).id == first.id
    assert len(harness.files.all()) == 1
    assert first.creator == ADA.subject
