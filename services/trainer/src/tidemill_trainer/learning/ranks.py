"""The ranks of a training that several processes compute, numbered as torch.distributed does.

Rank 0 is the process that the worker started. It starts the others, which end with it; where one of them ends early,
rank 0 reports why, and ends. Under torchrun, which starts all ranks on one machine or on several, torchrun does both.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch.distributed as dist

from tidemill_core.errors import isolated
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.learning.job import Job
from tidemill_trainer.learning.reports import Reports

RANK_LOST = "RANK_LOST"
GRACE_S = 2.0
"""How long a rank that lost another waits for the reason, which is known where that one ended."""
ENDS_WITHIN_S = 60.0
"""How long rank 0 waits for the others to end after the last step."""
_RENDEZVOUS = "TIDEMILL_RENDEZVOUS"
"""Variable: the file by which ranks that rank 0 started find one another. No port is opened to others for it."""
_LOOPBACK = "lo" if sys.platform == "linux" else "lo0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """Which of a training's processes this one is; those of this machine are `local`."""

    index: int = 0
    count: int = 1
    local_index: int = 0
    local_count: int = 1
    rendezvous: str = ""
    """The file where ranks meet of which the first starts the others; "" where torchrun says where."""
    starts_others: bool = False

    @classmethod
    def of_process(cls, job: Job) -> "Rank":
        """Return what rank 0 or torchrun has said; else the first of the job's processes."""
        if "RANK" in os.environ:
            index, count, local_index, local_count = (
                int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
            )
            rendezvous = os.environ.get(_RENDEZVOUS, "")
            return cls(
                index=index, count=count, local_index=local_index, local_count=local_count, rendezvous=rendezvous
            )
        if job.processes == 1:
            return cls()
        file = Path(job.folder) / f"rendezvous-{uuid4().hex}"
        return cls(count=job.processes, local_count=job.processes, rendezvous=str(file), starts_others=True)

    @property
    def leads(self) -> bool:
        """Whether it decides, reports and writes files."""
        return self.index == 0

    def environment(self, index: int) -> dict[str, str]:
        """Return the variables by which a rank of this machine, and accelerate in it, knows which it is."""
        return {
            "RANK": str(index),
            "WORLD_SIZE": str(self.count),
            "LOCAL_RANK": str(index if self.rendezvous else self.local_index),
            "LOCAL_WORLD_SIZE": str(self.local_count),
        } | ({_RENDEZVOUS: self.rendezvous, "GLOO_SOCKET_IFNAME": _LOOPBACK} if self.rendezvous else {})


class Ranks:
    """All ranks of a training while they compute; a single one waits for none."""

    def __init__(self, rank: Rank) -> None:
        self._rank = rank

    def shared(self, decided: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what rank 0 decided, which is JSON."""
        if self._rank.count == 1:
            return decided
        text = [json.dumps(decided)]
        dist.broadcast_object_list(text, src=0)
        received: Mapping[str, Any] = json.loads(text[0])
        return received

    def meet(self) -> None:
        """Return when every rank is here."""
        if self._rank.count > 1:
            dist.barrier()


@contextmanager
def together(rank: Rank, job: Job, reports: Reports, *, device: str, threads: int) -> Iterator[Ranks]:
    """Have all ranks compute the body; those that rank 0 started end with it.

    Raises:
        TrainingStopped: RANK_LOST, where another rank did not answer within the job's `rank_timeout_s`.

    """
    if rank.count == 1:
        yield Ranks(rank)
        return
    os.environ |= rank.environment(rank.index) | {"OMP_NUM_THREADS": str(threads)}  # else accelerate sets the threads
    others = replace(job, threads=threads * rank.local_count)  # each divides it, as this one has
    started = _Started(rank, others, reports) if rank.starts_others else None
    try:
        with isolated():
            _join(rank, job, backend="nccl" if device == "cuda" else "gloo")
            yield Ranks(rank)
    except TrainingStopped:
        raise
    except Exception as error:
        time.sleep(GRACE_S)  # a rank that ended says why; it ends this process
        if isinstance(error, dist.DistError) or "gloo" in str(error).lower():
            message = (
                f"rank {rank.index} of {rank.count} lost another, or waited {job.rank_timeout_s:g} s for it: "
                "retry the run, which resumes from its last checkpoint"
            )
            raise TrainingStopped(message, reason=RANK_LOST) from error
        raise
    if started:
        started.end()  # the group is left as it is: its end waits for threads, and the process ends soon


def _join(rank: Rank, job: Job, *, backend: str) -> None:
    if dist.is_initialized():
        return
    timeout = timedelta(seconds=job.rank_timeout_s)
    if not rank.rendezvous:
        dist.init_process_group(backend, timeout=timeout)
        return
    store = dist.FileStore(rank.rendezvous, rank.count)
    dist.init_process_group(backend, store=store, rank=rank.index, world_size=rank.count, timeout=timeout)


class _Started:
    """The ranks that rank 0 started."""

    def __init__(self, rank: Rank, job: Job, reports: Reports) -> None:
        self._rank, self._reports = rank, reports
        self._over = False
        file = Path(job.folder) / "ranks.json"
        job.write(file)
        command = [sys.executable, "-m", "tidemill_trainer.learning", str(file)]
        self._processes = [self._start(command, index) for index in range(1, rank.count)]

    def end(self) -> None:
        """Wait for them after the last step; one that stays is killed."""
        self._over = True
        for process in self._processes:
            try:
                process.wait(ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, command: list[str], index: int) -> "subprocess.Popen[bytes]":
        """Start one; its standard input stays open until this process ends."""
        environment = os.environ | self._rank.environment(index)
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        threading.Thread(target=self._watch, args=(index, process), name=f"rank-{index}", daemon=True).start()
        return process

    def _watch(self, index: int, process: "subprocess.Popen[bytes]") -> None:
        """Read what a rank reports until it ends; where it failed, report that and end all."""
        assert process.stdout is not None  # noqa: S101 - it was asked for
        failed: Mapping[str, Any] | None = None
        for line in process.stdout:
            received = json.loads(line)
            failed = received if received["event"] == "failed" else failed
        status = process.wait()
        if self._over or (status == 0 and failed is None):
            return
        if failed and failed["reason"] == RANK_LOST:
            time.sleep(GRACE_S)  # the one that it lost is watched, too
        reason, message = (
            (failed["reason"], failed["message"]) if failed else (RANK_LOST, self._described(index, status))
        )
        self._reports.report("failed", reason=reason, message=message)
        os._exit(1)

    def _described(self, index: int, status: int) -> str:
        how = f"was killed ({signal.Signals(-status).name})" if status < 0 else f"exited with code {status}"
        return (
            f"rank {index} of {self._rank.count} {how}, and the others ended with it: retry the run, which resumes "
            "from its last checkpoint; the machine may be out of memory"
        )
