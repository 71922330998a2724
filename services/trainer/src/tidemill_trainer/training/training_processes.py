"""Runs trainings in child processes and enforces their memory and time limits."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from tidemill_core.errors import DependencyUnavailable, TidemillError
from tidemill_trainer.child_processes import Exceeded, described_exit, kill_all, killed_above, started
from tidemill_trainer.disk import disk_errors
from tidemill_trainer.errors import TrainingFailed
from tidemill_trainer.learning.failures import DISK_FULL
from tidemill_trainer.learning.job import NO_LIMIT, Job, ModelFiles, Planted, recipe_fields
from tidemill_trainer.learning.process_memory import taken_by_all
from tidemill_trainer.registry.domain.memorisation import CanaryGroup, Extraction, Memorisation
from tidemill_trainer.registry.domain.reward_model import PairAccuracy
from tidemill_trainer.training.domain.curves import Curve
from tidemill_trainer.training.domain.fit import Choice, ExampleCounts, Fit
from tidemill_trainer.training.domain.losses import LossPoint
from tidemill_trainer.training.ports import (
    Begun,
    Fitted,
    JudgedAnswer,
    Judging,
    Measured,
    Memorised,
    ModelFolders,
    Report,
    Saved,
    Scored,
    Stepped,
    TrainingJob,
)
from tidemill_trainer.training.training_memory import available_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """Settings of all training processes; 0 threads means torch's default."""

    min_examples: int
    checkpoint_steps: int
    device: str = "auto"
    numeric_format: Literal["auto", "bfloat16", "float32"] = "auto"
    threads: int = 0
    rank_timeout_s: float = 600.0
    """How long one of several processes of a training waits for another."""
    max_kl: float = NO_LIMIT
    measure_s: float = 1800.0
    """How long what a model has memorised is measured after its last step."""
    max_file_bytes: int = 2**63
    """Of a file of full weights."""
    spare_bytes: int = 0
    """Available memory that a job with `memory_auto` leaves to other processes."""
    command: Sequence[str] = (sys.executable, "-m", "tidemill_trainer.learning")


@dataclass(slots=True, kw_only=True)
class _Ending:
    """State of a training process: why it was killed and what it reported."""

    why: TrainingFailed | DependencyUnavailable | None = None
    computed: bool = False
    """Set after the last step: saving has no time limit."""
    done: bool = False
    peak_memory_bytes: int = 0

    def received(self, line: Mapping[str, Any]) -> None:
        """Record what a line of the process says of its end."""
        if "step" in line:
            self.computed = line["step"] >= line["steps"]
        if line["event"] == "failed":
            self.why = self.why or _failure(line["message"], reason=line["reason"])
        self.done = self.done or line["event"] == "done"

    def saw(self, taken_bytes: int) -> None:
        """Record how much memory it was seen to take."""
        self.peak_memory_bytes = max(self.peak_memory_bytes, taken_bytes)


class TrainingProcesses:
    """Implements `ports.Trainings`. Standard error of a process is written to its run's folder."""

    def __init__(self, settings: ProcessSettings) -> None:
        self._settings = settings

    @asynccontextmanager
    async def running(self, job: TrainingJob) -> AsyncIterator[AsyncIterator[Report]]:
        """See `Trainings.running`."""
        if job.memory_auto:
            left = await asyncio.to_thread(available_bytes) - self._settings.spare_bytes
            job = replace(job, memory_bytes=max(0, min(job.memory_bytes, left)))
        with disk_errors():
            process = await self._started(job)
        ending = _Ending()
        watching = asyncio.create_task(_watch(process, job, ending))
        try:
            yield _reports(process, ending, job.judging)
        finally:
            watching.cancel()
            kill_all(process)
            await process.wait()

    async def _started(self, job: TrainingJob) -> asyncio.subprocess.Process:
        folder = job.folder.path
        job_file = folder / "job.json"
        sent = Job(
            folder=str(folder),
            examples=str(job.folder.examples),
            made=str(job.folder.made),
            base=str(job.base),
            base_name=job.base_name,
            **recipe_fields(job.recipe),
            min_examples=self._settings.min_examples,
            checkpoint_steps=self._settings.checkpoint_steps,
            device="cuda" if job.devices else self._settings.device,
            numeric_format=self._settings.numeric_format,
            threads=self._settings.threads,
            processes=job.processes,
            rank_timeout_s=self._settings.rank_timeout_s,
            memory_bytes=job.memory_bytes,
            memory_auto=job.memory_auto,
            smaller_than=job.smaller_than,
            held_out=job.held_out,
            reward_models={name: _files(each) for name, each in job.reward_models.items()},
            teacher=_files(job.teacher) if job.teacher else None,
            max_kl=self._settings.max_kl,
            held_out_examples=str(job.folder.held_out) if job.measures_accuracy else "",
            planted=Planted(check=check, origin=job.canary_origin) if (check := job.recipe.memorisation) else None,
            measure_s=self._settings.measure_s,
            max_file_bytes=self._settings.max_file_bytes,
        )
        await asyncio.to_thread(sent.write, job_file)
        variables = {"CUDA_VISIBLE_DEVICES": ",".join(job.devices)} if job.devices else {}
        return await started([*self._settings.command, str(job_file)], folder, variables=variables)


def _files(folders: ModelFolders) -> ModelFiles:
    return ModelFiles(base=str(folders.base), adapter=str(folders.adapter or ""))


async def _reports(
    process: asyncio.subprocess.Process, ending: _Ending, judging: Judging | None
) -> AsyncIterator[Report]:
    """Yield the process's reports until it exits; raise unless it succeeded."""
    assert process.stdout is not None  # noqa: S101 - it was asked for
    async for line in process.stdout:
        received = json.loads(line)
        ending.received(received)
        if (report := _report_of(received)) is not None:
            if isinstance(report, Stepped):
                ending.saw(taken_by_all(process.pid))
                report = replace(report, peak_memory_bytes=ending.peak_memory_bytes)
            yield report
        elif received["event"] == "judge":
            async for report in _judged(process, judging, received["answers"]):
                yield report
    status = await process.wait()
    if ending.why:
        raise ending.why
    if status or not ending.done:
        raise TrainingFailed(described_exit(status, what="the training process"), reason="CRASHED")


async def _judged(
    process: asyncio.subprocess.Process, judging: Judging | None, answers: Sequence[Mapping[str, Any]]
) -> AsyncIterator[Report]:
    """Have a judge score what the process sends, and yield what was asked by then, also where that failed."""
    if judging is None:
        message = "the run has no judge, and its process asks for one: start a new run"
        raise TrainingFailed(message, reason="JUDGE_UNAVAILABLE")
    try:
        await _judge(process, judging, answers)
    except TidemillError:
        yield judging.counted
        raise
    yield judging.counted


def _failure(message: str, *, reason: str) -> TrainingFailed | DependencyUnavailable:
    if reason == DISK_FULL:
        return DependencyUnavailable(message, dependency="disk")
    return TrainingFailed(message, reason=reason)


async def _judge(process: asyncio.subprocess.Process, judging: Judging, answers: Sequence[Mapping[str, Any]]) -> None:
    """Send the process the scores that it waits for; one that has exited waits no more."""
    asked = [
        JudgedAnswer(
            asked=[(turn["role"], turn["content"]) for turn in each["asked"]],
            answer=each["answer"],
            reference=each["reference"],
        )
        for each in answers
    ]
    scoring, exiting = asyncio.ensure_future(judging.scores(asked)), asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait({scoring, exiting}, return_when=asyncio.FIRST_COMPLETED)
        if scoring.done() and process.stdin:
            process.stdin.write(json.dumps({"scores": [*scoring.result()]}).encode() + b"\n")
            with suppress(ConnectionError):  # it has exited, which its output says
                await process.stdin.drain()
    finally:
        scoring.cancel()
        exiting.cancel()
        await asyncio.wait({scoring, exiting})


def _report_of(received: Mapping[str, Any]) -> Report | None:
    """Return what a line reports of a training that goes on, None if it says how it ended."""
    match received["event"]:
        case "fitted":
            fit = Fit(**received["fit"] | {"choice": Choice(**received["fit"]["choice"])})
            return Fitted(fit=fit, examples=ExampleCounts(**received["examples"]))
        case "begun":
            return Begun(
                step=received["step"],
                steps=received["steps"],
                versions=received["versions"],
                losses=_points(received["losses"]),
                held_out_losses=_points(received.get("held_out_losses", [])),
                curves=tuple(_curve(each) for each in received.get("curves", [])),
            )
        case "step":
            return Stepped(
                step=received["step"],
                steps=received["steps"],
                loss=received["loss"],
                remaining_s=received["remaining_s"],
                numbers=received.get("numbers", {}),
                peak_device_memory_bytes=received.get("device_memory_bytes", 0),
            )
        case "saved" | "measured":
            step = received["at"]
            return Measured(step=step, loss=received["loss"]) if "loss" in received else Saved(step=step)
        case "scored" | "memorised":
            return _found(received)
        case _:
            return None


def _found(received: Mapping[str, Any]) -> Scored | Memorised:
    """Return what was measured after the last step."""
    if received["event"] == "scored":
        return Scored(accuracy=PairAccuracy(pairs=received["pairs"], correct=received["correct"]))
    extraction = received["extraction"]
    found = Memorisation(
        candidates=received["candidates"],
        planted=received["planted"],
        groups=tuple(CanaryGroup(**each) for each in received["groups"]),
        extraction=Extraction(**extraction) if extraction else None,
    )
    return Memorised(memorisation=found)


def _points(received: Sequence[tuple[int, float]]) -> Sequence[LossPoint]:
    return tuple(LossPoint(step, loss) for step, loss in received)


def _curve(received: Mapping[str, Any]) -> Curve:
    steps, values = tuple(received["steps"]), tuple(received["values"])
    return Curve(name=received["name"], steps=steps, values=values, every=received.get("every", 1))


async def _watch(process: asyncio.subprocess.Process, job: TrainingJob, ending: _Ending) -> None:
    """Kill the process when it exceeds its memory or time limit."""
    exceeded, taken = await killed_above(
        process,
        memory_bytes=job.memory_bytes,
        seconds=job.seconds_left,
        timed=lambda: not ending.computed,
        saw=ending.saw,
    )
    if exceeded is Exceeded.MEMORY:
        message = (
            f"the training used {taken} bytes of memory; its limit is {job.memory_bytes}: use limits.memory auto, "
            "a smaller batch, max_length or base, or gradient_checkpointing"
        )
        ending.why = TrainingFailed(message, reason="OUT_OF_MEMORY")
    else:
        message = "the training exceeded its time limit: raise limits.time, or train fewer steps"
        ending.why = TrainingFailed(message, reason="TIME_LIMIT")
