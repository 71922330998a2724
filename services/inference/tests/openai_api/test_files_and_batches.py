"""Files and batches by OpenAI's own client, over the RPCs of gRPC."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from services.inference.tests.batches.batch_harness import MAX_FILE_BYTES, BatchHarness, request_line
from services.inference.tests.fakes import ADA, writing
from services.inference.tests.openai_api.apis import ApiClient, open_api, settings
from services.inference.tests.openai_api.responding import RpcSettings
from tidemill.inference.v1 import batch_pb2
from tidemill.inference.v1.batch_service_pb2_grpc import add_BatchServiceServicer_to_server
from tidemill.inference.v1.file_service_pb2_grpc import add_FileServiceServicer_to_server
from tidemill_core.errors import InvalidInput
from tidemill_inference.batches.grpc import GrpcBatchService
from tidemill_inference.batches.messages import batch_request_of
from tidemill_inference.files.grpc import GrpcFileService
from tidemill_inference.openai_api.batches import HttpBatches
from tidemill_inference.openai_api.files import HttpFiles
from tidemill_kit.grpc.server import admission_of
from tidemill_kit.grpc.uploads import Patience, UploadPlaces
from tidemill_kit.http.rpc import HttpRpcs
from tidemill_testkit.access import access_of, installation
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.polling import eventually

TWO = f"{request_line('a')}\n{request_line('b')}\n".encode()


NAMED_BY_HALF_A_PAIR = b"\r\n".join(
    [
        b"--x",
        b'Content-Disposition: form-data; name="purpose"',
        b"",
        b"batch",
        b"--x",
        b'Content-Disposition: form-data; name="file"; filename="\\ud800.jsonl"',
        b"",
        b"{}",
        b"--x--",
        b"",
    ]
)


@dataclass(frozen=True, kw_only=True)
class Api:
    """A running API with what is behind it."""

    client: ApiClient
    harness: BatchHarness
    audit: RecordedCalls

    @property
    def openai(self) -> AsyncOpenAI:
        return self.client.openai

    def of(self, subject: str) -> AsyncOpenAI:
        """Return the client of a user who acts for no other one."""
        key = installation().token("acme", "contributor", subject=subject)
        return self.openai.with_options(api_key=key)

    async def carry_out(self) -> None:
        for key in self.harness.enqueued:
            await self.harness.carry_out(await self.harness.batches.get(key.project, key.id))


def patience(whole_s: float = 10.0) -> UploadPlaces:
    return UploadPlaces(Patience(max_concurrent=2, of_project=4, idle_s=5.0, whole_s=whole_s))


@asynccontextmanager
async def api_with_files(folder: Path, *, whole_s: float = 10.0) -> AsyncIterator[Api]:
    harness, audit = BatchHarness(folder), RecordedCalls()
    given = RpcSettings.model_validate({**settings().model_dump(), "http_port": 0})
    rpcs = HttpRpcs(
        [
            (add_FileServiceServicer_to_server, GrpcFileService(harness.file_crud, patience())),
            (add_BatchServiceServicer_to_server, GrpcBatchService(harness.crud)),
        ],
        given,
        admission=admission_of(given),
        access=access_of(),
        audit=audit,
    )
    files = HttpFiles(
        rpcs=rpcs,
        reading=harness.file_crud,
        places=patience(whole_s),
        limit=MAX_FILE_BYTES,
        setting="INFERENCE_FILE_MAX_MB",
    )
    async with open_api(harness.answers.answer, further=[files, HttpBatches(rpcs)]) as client:
        yield Api(client=client, harness=harness, audit=audit)


async def test_a_batch_goes_by_openais_client_from_its_file_to_its_results(tmp_path: Path) -> None:
    async with api_with_files(tmp_path) as api:
        file = await api.openai.files.create(file=("in.jsonl", TWO), purpose="batch")
        batch = await api.openai.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"run": "nightly"},
        )
        await api.carry_out()
        ended = await api.openai.batches.retrieve(batch.id)
        assert ended.output_file_id
        content = await api.openai.files.content(ended.output_file_id)
        output = await api.openai.files.retrieve(ended.output_file_id)

    assert (file.object, file.bytes, file.filename, file.purpose) == ("file", len(TWO), "in.jsonl", "batch")
    assert (batch.status, batch.metadata, batch.completion_window) == ("validating", {"run": "nightly"}, "24h")
    assert batch.expires_at == batch.created_at + 24 * 3600
    assert (ended.status, ended.error_file_id, ended.errors) == ("completed", None, None)
    assert ended.request_counts
    assert ended.request_counts.model_dump() == {"total": 2, "completed": 2, "failed": 0}
    assert ended.completed_at
    lines = [json.loads(line) for line in content.text.splitlines()]
    assert [line["custom_id"] for line in lines] == ["a", "b"]
    assert lines[0]["response"]["status_code"] == 200
    assert lines[0]["response"]["body"]["object"] == "chat.completion"
    assert (output.purpose, output.bytes) == ("batch_output", len(content.content))


async def test_lists_go_from_page_to_page_newest_first(tmp_path: Path) -> None:
    async with api_with_files(tmp_path) as api:
        files = []
        for number in range(3):
            files.append(
                await api.openai.files.create(file=(f"{number}.jsonl", TWO + bytes([10] * number)), purpose="batch")
            )
            await api.openai.batches.create(
                input_file_id=files[-1].id, endpoint="/v1/chat/completions", completion_window="24h"
            )
            api.harness.clock.advance(timedelta(seconds=1))
        listed = [each.filename async for each in await api.openai.files.list(limit=2)]
        upwards = [each.filename async for each in await api.openai.files.list(limit=2, order="asc", purpose="batch")]
        batches = [each.input_file_id async for each in await api.openai.batches.list(limit=1)]
        outputs = await api.openai.files.list(purpose="batch_output")

    assert listed == ["2.jsonl", "1.jsonl", "0.jsonl"]
    assert upwards == listed[::-1]
    assert batches == [each.id for each in reversed(files)]
    assert outputs.data == []


async def test_a_file_is_read_and_deleted_by_who_made_it_and_by_who_acts_for_users(tmp_path: Path) -> None:
    async with api_with_files(tmp_path) as api:
        ada, bob = api.of("user:ada"), api.of("user:bob")
        file = await ada.files.create(file=("in.jsonl", TWO), purpose="batch")
        assert (await ada.files.content(file.id)).content == TWO
        assert (await bob.files.retrieve(file.id)).filename == "in.jsonl"
        for refused in (bob.files.content(file.id), bob.files.delete(file.id)):
            with pytest.raises(openai.PermissionDeniedError) as error:
                await refused
            assert error.value.code == "file_restricted"
        with pytest.raises(openai.PermissionDeniedError):
            await bob.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        batch = await ada.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        with pytest.raises(openai.PermissionDeniedError):
            await bob.batches.cancel(batch.id)
        assert (await ada.batches.cancel(batch.id)).status == "cancelling"
        assert (await api.openai.files.delete(file.id)).deleted
        with pytest.raises(openai.NotFoundError) as gone:
            await ada.files.content(file.id)

    assert gone.value.code == "file_not_found"
    assert api.harness.objects.buckets["files"] == {}


async def test_what_changes_something_is_audited_also_where_it_is_refused(tmp_path: Path) -> None:
    async with api_with_files(tmp_path) as api:
        file = await api.openai.files.create(file=("in.jsonl", TWO), purpose="batch")
        await api.openai.files.delete(file.id)
        viewer = api.openai.with_options(api_key=installation().token("acme", "viewer", subject="user:eve"))
        with pytest.raises(openai.PermissionDeniedError):
            await viewer.files.delete(file.id)

    assert [(each.method.rpartition("/")[2], each.caller.subject, each.code) for each in api.audit.ended] == [
        ("UploadFile", "service_account:shop", "OK"),
        ("DeleteFile", "service_account:shop", "OK"),
        ("DeleteFile", "user:eve", "PERMISSION_DENIED"),
    ]


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"data": {"purpose": "batch"}, "files": {"document": ("in.jsonl", TWO)}}, "document"),
        ({"data": {}, "files": {"file": ("in.jsonl", TWO)}}, "purpose"),
        ({"data": {"purpose": "fine-tune"}, "files": {"file": ("in.jsonl", TWO)}}, "purpose"),
        ({"data": {"purpose": "batch", "expires_after": "1"}, "files": {"file": ("in.jsonl", TWO)}}, "expires_after"),
        ({"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", bytes(2 * MAX_FILE_BYTES))}}, "file"),
        ({"json": {"purpose": "batch"}}, "body"),
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, "body"),
        (
            {
                "content": NAMED_BY_HALF_A_PAIR,
                "headers": {"Content-Type": "multipart/form-data; boundary=x; charset=unicode_escape"},
            },
            "body",
        ),
    ],
)
async def test_a_form_that_cannot_be_is_refused_by_the_field_at_fault(
    tmp_path: Path, form: dict[str, object], param: str
) -> None:
    async with api_with_files(tmp_path) as api:
        response = await api.client.http.post("/v1/files", **form)  # type: ignore[arg-type] # arguments of httpx

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert api.harness.files.all() == []


async def test_a_form_that_comes_drop_by_drop_holds_a_place_no_longer_than_an_upload_may_take(tmp_path: Path) -> None:
    async def drops() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
        for _ in range(200):
            await asyncio.sleep(0.01)
            yield b"\n"

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    async with api_with_files(tmp_path, whole_s=0.2) as api:
        response = await api.client.http.post("/v1/files", content=drops(), headers=headers)

    assert response.json()["error"]["code"] == "deadline_exceeded"


@pytest.mark.parametrize("seconds", [2**62, 315_576_000_000, -315_576_000_000, 59, 15 * 86400])
async def test_a_window_that_no_calendar_has_is_refused_by_its_field(tmp_path: Path, seconds: int) -> None:
    harness = BatchHarness(tmp_path)
    file = await harness.upload(request_line("a"))
    batch = batch_pb2.Batch(endpoint="/v1/chat/completions", input_file=file.id)
    batch.completion_window.seconds = seconds

    with pytest.raises(InvalidInput) as refused:
        await harness.crud.create(ADA, batch_request_of(batch), writing("begin"))
    assert [each.field for each in refused.value.violations] == ["completion_window"]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"endpoint": "/v1/images"}, "endpoint"),
        ({"input_file_id": "file-absent"}, "input_file_id"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "300d"}, "completion_window"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after"),
    ],
)
async def test_a_batch_that_cannot_be_is_refused_by_openais_names(
    tmp_path: Path, changes: dict[str, object], param: str
) -> None:
    async with api_with_files(tmp_path) as api:
        file = await api.openai.files.create(file=("in.jsonl", TWO), purpose="batch")
        given = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", **changes}
        response = await api.client.http.post("/v1/batches", json=given)

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert api.harness.enqueued == []


async def test_a_client_that_leaves_in_the_middle_of_an_upload_leaves_nothing(tmp_path: Path) -> None:
    async with api_with_files(tmp_path) as api:

        async def half() -> AsyncIterator[bytes]:
            yield b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            await asyncio.sleep(0.1)
            message = "gone"
            raise httpx.WriteError(message)

        with pytest.raises(httpx.WriteError):
            await api.client.http.post(
                "/v1/files", content=half(), headers={"Content-Type": "multipart/form-data; boundary=x"}
            )
        await eventually(lambda: not os.listdir(tmp_path))  # noqa: PTH208 - blocks for no time

    assert api.harness.files.all() == []
