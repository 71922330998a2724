"""Benchmark: upload of a model against a bare put of the same file with the minio client.

`python -m services.trainer.tests.bench.upload [megabytes]`, on the stack of TIDEMILL_TEST_STACK or a new one. Trainer
runs in a separate process; this process is the client.
"""

import asyncio
import json
import os
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
from minio import Minio

from services.trainer.tests.process.trainer_process import TrainerProcess
from tests.bench._servers import servers
from tidemill.trainer.v1 import model_pb2 as pb
from tidemill.trainer.v1 import model_registry_service_pb2 as rpc
from tidemill.trainer.v1.model_registry_service_pb2_grpc import ModelRegistryServiceStub
from tidemill_core.models.manifest import Manifest
from tidemill_local import Addresses
from tidemill_testkit.access import admin_channel

CHUNK_BYTES = 256 * 1024
MEGABYTE = 1_000_000


def write_model(folder: Path, size: int) -> None:
    """Write a model folder with one tensor of random bytes."""
    folder.mkdir()
    header = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for begin in range(0, size, MEGABYTE):
            file.write(os.urandom(min(MEGABYTE, size - begin)))
    (folder / "config.json").write_text("{}")


def put_bare(stack: Addresses, bucket: str, path: Path) -> float:
    """Return the duration of one put, in seconds."""
    client = Minio(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)
    begin = time.perf_counter()
    client.fput_object(bucket, "bare", str(path))
    return time.perf_counter() - begin


async def upload(port: int, folder: Path) -> tuple[float, float]:
    """Return the durations of hashing, and of uploading until the version is READY, in seconds."""
    begin = time.perf_counter()
    manifest = await asyncio.to_thread(Manifest.from_folder, folder)
    hashed = time.perf_counter()
    files = [pb.ManifestFile(path=file.path, size=file.size, sha256=file.sha256) for file in manifest.files]
    async with admin_channel(f"127.0.0.1:{port}", project="bench") as channel:
        stub = ModelRegistryServiceStub(channel)
        source = pb.ModelSource(folder=pb.FolderSource(files=files))
        version = (await stub.ImportModel(rpc.ImportModelRequest(model="m", source=source))).version
        for file in manifest.files:
            await stub.UploadModelFile(_messages(version.id, folder, file.path), timeout=600)
        done = await stub.CompleteModelVersion(rpc.CompleteModelVersionRequest(id=version.id))
    assert done.version.state == pb.MODEL_VERSION_STATE_READY
    return hashed - begin, time.perf_counter() - hashed


async def _messages(version: str, folder: Path, path: str) -> AsyncIterator[rpc.UploadModelFileRequest]:
    yield rpc.UploadModelFileRequest(start=rpc.UploadModelFileStart(version=version, path=path))
    with (folder / path).open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield rpc.UploadModelFileRequest(chunk=chunk)


async def measure(stack: Addresses, folder: Path, size: int) -> None:
    """Print the figures."""
    write_model(folder / "model", size)
    trainer = TrainerProcess(stack=stack, folder=folder)
    await asyncio.to_thread(trainer.start)
    try:
        process = psutil.Process(trainer.pid)
        idle = process.memory_info().rss
        before = [await asyncio.to_thread(put_bare, stack, trainer.bucket, folder / "model" / "model.safetensors")]
        hashing_s, uploading_s = await upload(trainer.port, folder / "model")
        before.append(await asyncio.to_thread(put_bare, stack, trainer.bucket, folder / "model" / "model.safetensors"))
        peak = int(Path(f"/proc/{trainer.pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024  # noqa: ASYNC240
    finally:
        await asyncio.to_thread(trainer.stop)
    for name, seconds in [("bare put", before[0]), ("upload", uploading_s), ("bare put", before[1])]:
        sys.stdout.write(f"{name}: {seconds:.2f} s, {size / MEGABYTE / seconds:.0f} MB/s\n")
    sys.stdout.write(f"hashing before: {hashing_s:.2f} s; trainer idle {idle >> 20} MB, peak {peak >> 20} MB\n")


def main() -> None:
    """Measure once."""
    size = int(sys.argv[1]) * MEGABYTE if len(sys.argv) > 1 else 270 * MEGABYTE
    with servers() as stack, tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        asyncio.run(measure(stack, Path(folder), size))


if __name__ == "__main__":
    main()
