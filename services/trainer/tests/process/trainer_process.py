"""Trainer as a real process on the stack's servers."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidemill_local import Addresses
from tidemill_testkit.stack import unique_name


@dataclass(kw_only=True)
class TrainerProcess:
    """Can be killed and restarted on the same database, bucket and folder."""

    stack: Addresses
    folder: Path
    hub: str = "http://127.0.0.1:9"
    ingest: str = "127.0.0.1:9"
    lease_s: float = 4.0
    database: str = field(default_factory=lambda: unique_name("trainer"))
    port: int = 0
    """gRPC port of the running process."""

    @property
    def bucket(self) -> str:
        return self.database

    @property
    def pid(self) -> int:
        return self._process.pid

    async def start(self) -> None:
        """Start it and return when it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tidemill_trainer",
            env=os.environ | self._environment(),
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            self.port = (await self._line("service_alive"))["grpc_port"]
            await self._line("service_ready")
        self._drained = asyncio.create_task(self._drain())

    async def kill(self) -> None:
        """Kill it (SIGKILL)."""
        self._process.kill()
        await self._ended()

    async def stop(self) -> int:
        """Stop it (SIGTERM) and return its exit status."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        await self._ended()
        return self._process.returncode or 0

    async def _ended(self) -> None:
        await self._process.wait()
        await self._drained

    async def _line(self, event: str) -> dict[str, Any]:
        assert self._process.stderr is not None
        lines: list[str] = []
        while line := (await self._process.stderr.readline()).decode():
            lines.append(line)
            if line.startswith("{") and json.loads(line)["event"] == event:
                found: dict[str, Any] = json.loads(line)
                return found
        message = f"trainer ended before {event}: " + "".join(lines[-20:])
        raise AssertionError(message)

    async def _drain(self) -> None:
        assert self._process.stderr is not None
        while await self._process.stderr.read(1 << 16):
            pass

    def _environment(self) -> dict[str, str]:
        return {
            "TRAINER_GRPC_PORT": "0",
            "TRAINER_KAFKA_BOOTSTRAP_SERVERS": self.stack.kafka,
            "TRAINER_MONGO_URI": self.stack.mongo,
            "TRAINER_MONGO_DATABASE": self.database,
            "TRAINER_S3_ENDPOINT": self.stack.s3.endpoint,
            "TRAINER_S3_ACCESS_KEY": self.stack.s3.access_key,
            "TRAINER_S3_SECRET_KEY": self.stack.s3.secret_key,
            "TRAINER_EXCHANGE_BUCKET": self.bucket,
            "TRAINER_DATA_DIR": str(self.folder),
            "TRAINER_DATASET_BUCKETS": self.bucket,
            "TRAINER_INGEST_ADDRESS": self.ingest,
            "TRAINER_RUN_CHECKPOINT_STEPS": "10",
            "TRAINER_RUN_DEVICE": "cpu",
            "TRAINER_RUN_POLL_INTERVAL_S": "0.3",
            "TRAINER_RUN_THREADS": "1",
            "TRAINER_HUGGING_FACE_ENDPOINT": self.hub,
            "TRAINER_LEASE_S": str(self.lease_s),
            "TRAINER_IMPORT_RETRY_S": "0.3",
            "TRAINER_LOG_FORMAT": "json",
        }
