"""Real trainings of a tiny model by two processes: the same steps as one, and none is left behind."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.trainer.tests.learning.test_step_memory import fit_in
from services.trainer.tests.learning.test_training import RecordedReports, job_in, trained
from services.trainer.tests.learning.tiny import write_base
from tidemill_core.models.manifest import Manifest
from tidemill_testkit.polling import eventually
from tidemill_trainer.errors import TrainingFailed
from tidemill_trainer.learning import ranks
from tidemill_trainer.learning.checkpoints import last_complete, processes_of
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.learning.job import Job
from tidemill_trainer.learning.ranks import Rank, together
from tidemill_trainer.learning.reports import Unreported
from tidemill_trainer.training.domain.fit import Choice
from tidemill_trainer.training.domain.recipe import Recipe
from tidemill_trainer.training.domain.trial import HeldOut
from tidemill_trainer.training.ports import RunFolder, Stepped, TrainingJob
from tidemill_trainer.training.training_processes import ProcessSettings, TrainingProcesses

ARGS: dict[str, Any] = {"per_device_train_batch_size": 4, "learning_rate": 0.01}
KTO: dict[str, Any] = {"per_device_train_batch_size": 8, "beta": 1.0}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@dataclass(frozen=True)
class Processes:
    """Two processes that are the ranks of one training after the other."""

    executor: ProcessPoolExecutor
    rendezvous: str


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    meeting = tmp_path_factory.mktemp("ranks") / "rendezvous"
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as executor:
        yield Processes(executor, str(meeting))
        for _ in range(2):
            executor.submit(os._exit, 0)  # as a rank ends


_index: list[int] = []
"""Which rank this process is; the same for all trainings."""


def rank(job: Job, index: int, rendezvous: str) -> tuple[int, RecordedReports]:
    """Train as one of two ranks, in a process of its own, and return which it was and what it reported."""
    _index[:] = _index or [index]
    which = {"RANK": _index[0], "WORLD_SIZE": 2, "LOCAL_RANK": _index[0], "LOCAL_WORLD_SIZE": 2}
    os.environ |= {name: str(value) for name, value in which.items()} | {"TIDEMILL_RENDEZVOUS": rendezvous}
    reported = RecordedReports()
    trained_by(job, reported)
    return _index[0], reported


def exact(job: Job) -> Job:
    """Return a job in a format in which the shape of a batch hardly changes its sums."""
    return replace(job, numeric_format="float32")


def trained_by(job: Job, reported: RecordedReports) -> None:
    from tidemill_trainer.learning.training import train  # noqa: PLC0415 - ditto

    train(job, reported)  # type: ignore[arg-type] # it only reports


def by_two(processes: Processes, job: Job) -> RecordedReports:
    """Train by two ranks, and return what the first reported."""
    job = replace(job, rank_timeout_s=200.0)
    ranks = [processes.executor.submit(rank, job, index, processes.rendezvous) for index in (0, 1)]
    found = dict(each.result() for each in as_completed(ranks))
    assert found[1].lines == []
    return found[0]


@pytest.mark.long
@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("sft", {}),
        ("sft", {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}),
        ("sft", {"use_peft": False, "learning_rate": 0.01}),
        ("dpo", {}),
        ("reward", {}),
        ("kto", KTO),
        ("dpo", {"use_peft": False, "learning_rate": 0.001}),
        ("kto", {**KTO, "use_peft": False, "learning_rate": 0.001}),
    ],
)
def test_two_processes_compute_the_steps_of_one(
    tmp_path: Path, base: Path, processes: Processes, method: str, args: dict[str, Any]
) -> None:
    one = RecordedReports()
    trained(exact(job_in(tmp_path / "one", base, method=method, **ARGS | args)), one)

    two = by_two(processes, exact(job_in(tmp_path / "two", base, method=method, **ARGS | args)))

    assert two.losses == pytest.approx(one.losses, rel=1e-3)
    assert one.losses[-1] != pytest.approx(one.losses[0], rel=1e-2)
    assert [line["versions"]["processes"] for line in two.lines if line["event"] == "begun"] == ["2"]


@pytest.mark.long
def test_trials_of_two_processes_are_measured_as_those_of_one(tmp_path: Path, base: Path, processes: Processes) -> None:
    held_out = HeldOut(share=0.25, seed=3, measurements=2)
    one = RecordedReports()
    trained_by(replace(exact(job_in(tmp_path / "one", base, **ARGS)), held_out=held_out), one)

    two = by_two(processes, replace(exact(job_in(tmp_path / "two", base, **ARGS)), held_out=held_out))

    measured = [[line["loss"] for line in found.lines if line["event"] == "measured"] for found in (one, two)]
    assert measured[1] == pytest.approx(measured[0], rel=1e-3)
    assert len(measured[0]) == 2


@pytest.mark.long
def test_two_processes_go_on_from_their_checkpoint_to_the_same_adapter_and_one_does_not(
    tmp_path: Path, base: Path, processes: Processes
) -> None:
    job = job_in(tmp_path, base, **ARGS)
    by_two(processes, job)
    expected = Manifest.from_folder(Path(job.made)).digest
    for made_last in ("made", "checkpoints/checkpoint-5"):  # as if it was killed after the checkpoint before
        shutil.rmtree(tmp_path / made_last)

    with pytest.raises(TrainingStopped, match="of 2 processes and 1 would go on") as stopped:
        trained(job, RecordedReports())
    assert (stopped.value.reason, Path(job.made).exists()) == ("PROCESSES_CHANGED", False)
    second = by_two(processes, job)

    assert [line["step"] for line in second.lines if line["event"] == "begun"] == [4]
    assert Manifest.from_folder(Path(job.made)).digest == expected


def test_the_memory_of_all_processes_is_estimated(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill_trainer.learning.fitting.taken_bytes", lambda: 2**28)  # it grows with each test
    job = job_in(tmp_path / "run", base, **ARGS)

    one, two = fit_in(job), fit_in(replace(job, processes=2))

    assert (one.choice.batch_size, two.choice.batch_size) == (4, 2)
    assert 1.5 * one.needed_bytes < two.needed_bytes < 2 * one.needed_bytes


def test_a_step_that_cannot_be_divided_is_refused(tmp_path: Path, base: Path) -> None:
    with pytest.raises(TrainingStopped, match="3 processes; it must divide per_device_train_batch_size = 4") as stopped:
        fit_in(replace(job_in(tmp_path / "run", base, **ARGS), processes=3))

    assert stopped.value.reason == "BAD_RECIPE"


async def test_where_a_rank_is_killed_all_end_and_a_whole_checkpoint_of_all_is_left(tmp_path: Path, base: Path) -> None:
    job = job_in(tmp_path, base, **ARGS)

    await _rank_lost(job)

    left = last_complete(job.checkpoints)
    assert left is not None
    assert processes_of(left) == 2
    assert not (tmp_path / "made").exists()


@pytest.mark.long
async def test_the_attempt_after_a_killed_rank_goes_on(tmp_path: Path, base: Path) -> None:
    trainings, asked = await _rank_lost(job_in(tmp_path, base, **ARGS))

    async with trainings.running(asked) as reports:
        steps = [report.step async for report in reports if isinstance(report, Stepped)]
    assert (steps[0] > 1, steps[-1]) == (True, 5)
    assert (tmp_path / "made" / "adapter_model.safetensors").exists()


async def _rank_lost(job: Job) -> tuple[TrainingProcesses, TrainingJob]:
    """Kill a rank of two, see both end, and return what trains the job again."""
    asked = TrainingJob(
        folder=RunFolder(path=Path(job.folder)),
        base=Path(job.base),
        base_name="tiny@1",
        recipe=Recipe(method="sft", lora=job.lora, args=job.args),
        processes=2,
        seconds_left=600.0,
        memory_bytes=2**40,
    )
    settings = ProcessSettings(min_examples=2, checkpoint_steps=1, device="cpu", threads=2)
    trainings = TrainingProcesses(settings)
    with pytest.raises(TrainingFailed, match="rank 1 of 2 was killed") as failed:
        await _killed_after_a_step(trainings, asked)
    assert failed.value.reason == "RANK_LOST"
    return trainings, asked


async def _killed_after_a_step(trainings: TrainingProcesses, job: TrainingJob) -> None:
    ranks: list[psutil.Process] = []
    try:
        async with trainings.running(job) as reports:
            async for report in reports:
                if isinstance(report, Stepped) and report.step > 1 and not ranks:
                    ranks = psutil.Process().children(recursive=True)
                    next(each for each in ranks if "ranks.json" in " ".join(each.cmdline())).kill()
    finally:
        ours = [each for each in ranks if "tidemill_trainer.learning" in _command(each)]
        await eventually(lambda: not any(each.is_running() for each in ours))


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def test_the_first_of_several_says_how_many_threads_all_have(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Job] = []

    class Started:
        def __init__(self, _rank: Rank, job: Job, _reports: object) -> None:
            started.append(job)

        def end(self) -> None: ...

    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(ranks, "_Started", Started)
    monkeypatch.setattr(ranks, "_join", lambda *_, **__: None)
    first = Rank(count=4, local_count=4, rendezvous="file", starts_others=True)
    reports: Any = Unreported()
    with together(first, job_in(tmp_path, base), reports, device="cpu", threads=4):
        assert os.environ["OMP_NUM_THREADS"] == "4"  # which the others inherit

    assert [job.threads for job in started] == [16]  # each of four divides them by four


def test_a_choice_is_divided_by_its_batch_or_by_its_accumulation() -> None:
    by_batch = Choice(batch_size=4, accumulation_steps=3, checkpointing=True)

    assert by_batch.among(2) == Choice(batch_size=2, accumulation_steps=3, checkpointing=True)
    assert by_batch.among(3) == Choice(batch_size=4, accumulation_steps=1, checkpointing=True)
    assert by_batch.among(5) is None
