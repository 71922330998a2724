"""What deriving processes report, their limits, and their end; the fake one chooses by the bits of its job."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tidemill_testkit.polling import eventually
from tidemill_trainer.derivations.deriving_processes import DerivingProcesses
from tidemill_trainer.derivations.errors import DerivationFailed
from tidemill_trainer.derivations.methods import DropLayers, Method, PruneMagnitude, PruneWanda, Quantize
from tidemill_trainer.derivations.ports import DerivationFolder, DerivationJob
from tidemill_trainer.deriving.job import Job

PRETENDS = Path(__file__).with_name("pretend_deriving.py")
SUCCEEDS, HANGS, GROWS, BREAKS, SAYS_WHY = range(5)


def job_in(folder: Path, *, what: int) -> DerivationJob:
    return DerivationJob(
        folder=DerivationFolder(path=folder),
        weights=folder,
        weights_name="tiny@1",
        adapter=None,
        method=Quantize(bits=what),
    )


def processes(*, memory_bytes: int = 1024**3, time_s: float = 60.0) -> DerivingProcesses:
    return DerivingProcesses(
        memory_bytes=memory_bytes, time_s=time_s, max_file_bytes=1, command=(sys.executable, str(PRETENDS))
    )


async def test_a_process_reports_facts(tmp_path: Path) -> None:
    assert await processes()(job_in(tmp_path, what=SUCCEEDS)) == {"torch": "2", "secrets": "0"}


@pytest.mark.parametrize(
    ("method", "sparsity", "layers", "examples"),
    [
        (PruneMagnitude(sparsity=0.5), 0.5, 0, False),
        (PruneWanda(sparsity=0.25, calibration="sft@1"), 0.25, 0, True),
        (DropLayers(layers=3, calibration="sft@1"), 0.0, 3, True),
    ],
)
async def test_a_process_knows_what_to_prune_and_by_which_examples(
    tmp_path: Path, method: Method, sparsity: float, layers: int, *, examples: bool
) -> None:
    await processes()(replace(job_in(tmp_path, what=SUCCEEDS), method=method))

    job = Job.read(tmp_path / "job.json")
    assert (job.bits, job.sparsity, job.dropped_layers) == (0, sparsity, layers)
    assert job.calibration == (str(tmp_path / "calibration.jsonl") if examples else "")


@pytest.mark.parametrize(
    ("what", "limits", "reason"),
    [
        (HANGS, {"time_s": 0.3}, "TIME_LIMIT"),
        (GROWS, {"memory_bytes": 96 * 1024**2}, "OUT_OF_MEMORY"),
        (BREAKS, {}, "CRASHED"),
        (SAYS_WHY, {}, "NOT_FINITE"),
    ],
)
async def test_a_process_that_makes_nothing_has_a_reason(
    tmp_path: Path, what: int, limits: dict[str, float], reason: str
) -> None:
    with pytest.raises(DerivationFailed) as failed:
        await processes(**limits)(job_in(tmp_path, what=what))  # type: ignore[arg-type] # each limit has its own type

    assert failed.value.reason == reason


async def test_cancelling_kills_the_process(tmp_path: Path) -> None:
    working = asyncio.create_task(processes()(job_in(tmp_path, what=HANGS)))
    await eventually((tmp_path / "begun").exists)
    started = int((tmp_path / "begun").read_text())

    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working

    assert not psutil.pid_exists(started)
