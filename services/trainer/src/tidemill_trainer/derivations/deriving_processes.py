"""Derives weights in child processes, within limits of memory and time."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemill_trainer.child_processes import Exceeded, described_exit, kill_all, killed_above, started
from tidemill_trainer.derivations.errors import DerivationFailed
from tidemill_trainer.derivations.methods import (
    DropLayers,
    PruneMagnitude,
    PruneWanda,
    Quantize,
    calibration_of,
)
from tidemill_trainer.derivations.ports import DerivationJob
from tidemill_trainer.deriving.job import Job
from tidemill_trainer.disk import disk_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivingProcesses:
    """Implements `ports.Deriving`. Standard error of a process is written to its folder."""

    memory_bytes: int
    time_s: float
    max_file_bytes: int
    threads: int = 0
    command: Sequence[str] = (sys.executable, "-m", "tidemill_trainer.deriving")

    async def __call__(self, job: DerivationJob) -> Mapping[str, str]:
        """See `Deriving`."""
        path, method = job.folder.path / "job.json", job.method
        written = Job(
            made=str(job.folder.made),
            weights=str(job.weights),
            weights_name=job.weights_name,
            adapter=str(job.adapter or ""),
            bits=method.bits if isinstance(method, Quantize) else 0,
            sparsity=method.sparsity if isinstance(method, PruneMagnitude | PruneWanda) else 0.0,
            dropped_layers=method.layers if isinstance(method, DropLayers) else 0,
            calibration=str(job.folder.calibration) if calibration_of(method) else "",
            threads=self.threads,
            max_file_bytes=self.max_file_bytes,
        )
        with disk_errors():
            await asyncio.to_thread(written.write, path)
            process = await started([*self.command, str(path)], job.folder.path)
        watching = asyncio.create_task(
            killed_above(process, memory_bytes=self.memory_bytes, seconds=self.time_s), name="derivation_limits"
        )
        try:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            output = await process.stdout.read()
            status = await process.wait()
            if watching.done():
                raise self._over(*watching.result())
        finally:
            watching.cancel()
            kill_all(process)
            await process.wait()
        return _facts(output, status)

    def _over(self, exceeded: Exceeded, taken: int) -> DerivationFailed:
        if exceeded is Exceeded.MEMORY:
            message = (
                f"the derivation used {taken} bytes of memory; TRAINER_DERIVATION_MEMORY_BYTES is {self.memory_bytes}: "
                "raise it, or derive from a smaller model"
            )
            return DerivationFailed(message, reason="OUT_OF_MEMORY")
        message = f"the derivation took longer than TRAINER_DERIVATION_TIME_S, {self.time_s:.0f} s: raise it"
        return DerivationFailed(message, reason="TIME_LIMIT")


def _facts(output: bytes, status: int) -> Mapping[str, str]:
    """Return what the process reported; raise unless it succeeded."""
    reports: list[Any] = [json.loads(line) for line in output.splitlines()]
    for report in reports:
        if report["event"] == "failed":
            raise DerivationFailed(report["message"], reason=report["reason"])
        if report["event"] == "done" and not status:
            return {str(name): str(value) for name, value in report["facts"].items()}
    raise DerivationFailed(described_exit(status, what="the deriving process"), reason="CRASHED")
