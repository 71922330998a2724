"""Evaluator as a real process on the stack's servers."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from typing import Any

from tidemill_local import Addresses
from tidemill_testkit.stack import unique_name


@dataclass(kw_only=True)
class EvaluatorProcess:
    """Can be killed and restarted on the same database and bucket."""

    stack: Addresses
    stub_services: str
    database: str = field(default_factory=lambda: unique_name("evaluator"))
    port: int = 0
    """gRPC port of the running process."""

    @property
    def bucket(self) -> str:
        return self.database

    @property
    def datasets(self) -> str:
        return f"{self.database}-datasets"

    async def start(self) -> None:
        """Start it and return when it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tidemill_evaluator",
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
        message = f"evaluator ended before {event}: " + "".join(lines[-20:])
        raise AssertionError(message)

    async def _drain(self) -> None:
        assert self._process.stderr is not None
        while await self._process.stderr.read(1 << 16):
            pass

    def _environment(self) -> dict[str, str]:
        return {
            "EVALUATOR_GRPC_PORT": "0",
            "EVALUATOR_KAFKA_BOOTSTRAP_SERVERS": self.stack.kafka,
            "EVALUATOR_MONGO_URI": self.stack.mongo,
            "EVALUATOR_MONGO_DATABASE": self.database,
            "EVALUATOR_S3_ENDPOINT": self.stack.s3.endpoint,
            "EVALUATOR_S3_ACCESS_KEY": self.stack.s3.access_key,
            "EVALUATOR_S3_SECRET_KEY": self.stack.s3.secret_key,
            "EVALUATOR_EXCHANGE_BUCKET": self.bucket,
            "EVALUATOR_DATASET_BUCKETS": self.datasets,
            "EVALUATOR_INFERENCE_ADDRESS": self.stub_services,
            "EVALUATOR_INGEST_ADDRESS": self.stub_services,
            "EVALUATOR_TRAINER_ADDRESS": self.stub_services,
            "EVALUATOR_ANSWER_PAUSE_S": "0.1",
            "EVALUATOR_LEASE_S": "2.0",
            "EVALUATOR_MIN_QUESTIONS": "4",
            "EVALUATOR_EVALUATION_RETRY_S": "0.5",
            "EVALUATOR_LOG_FORMAT": "json",
        }
