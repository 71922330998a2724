import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tidemill_core.errors import DependencyUnavailable
from tidemill_testkit.polling import eventually
from tidemill_trainer.errors import TrainingFailed
from tidemill_trainer.registry.domain.memorisation import CanaryGroup, Memorisation
from tidemill_trainer.registry.domain.reward_model import PairAccuracy
from tidemill_trainer.training.domain.curves import Curve
from tidemill_trainer.training.domain.fit import Choice, ExampleCounts, Fit
from tidemill_trainer.training.domain.memorisation import MemorisationCheck
from tidemill_trainer.training.domain.recipe import recipe_of
from tidemill_trainer.training.domain.rewards import LengthBounds, Reward
from tidemill_trainer.training.domain.trial import HeldOut
from tidemill_trainer.training.ports import (
    Begun,
    Fitted,
    Judged,
    JudgedAnswer,
    Measured,
    Memorised,
    ModelFolders,
    Report,
    RunFolder,
    Scored,
    Stepped,
    TrainingJob,
)
from tidemill_trainer.training.training_processes import ProcessSettings, TrainingProcesses

PRETENDS = Path(__file__).with_name("pretend_training.py")
SUCCEEDS, HANGS, GROWS, BREAKS, SAYS_WHY, CHATTERS, SAVES, COMPUTES, FITS, STARTS, ASKS, WAITS = range(12)
STARTED_BYTES = 400 * 1024**2
GIGABYTE = 1024**3
SAVING_AFTER_S = 5.0
"""When saving is still under way; until then a process has to start, beside other tests."""

STARTS_AND_WAITS = """
import asyncio, sys
from pathlib import Path
from services.trainer.tests.training.test_training_processes import HANGS, job_in, processes

async def main():
    async with processes().running(job_in(Path(sys.argv[1]), what=HANGS)) as reports:
        async for _ in reports:
            print("stepped", flush=True)

asyncio.run(main())
"""


def processes() -> TrainingProcesses:
    command = (sys.executable, str(PRETENDS))
    settings = ProcessSettings(min_examples=1, checkpoint_steps=2, numeric_format="float32", command=command)
    return TrainingProcesses(settings)


def job_in(folder: Path, *, what: int, seconds: float = 60.0, memory: int = GIGABYTE) -> TrainingJob:
    args = {"seed": what, "per_device_train_batch_size": 1}
    return TrainingJob(
        folder=RunFolder(path=folder),
        base=folder / "base",
        base_name="tiny@1",
        recipe=recipe_of(method="sft", lora={}, args=args),
        seconds_left=seconds,
        memory_bytes=memory,
    )


async def reports_of(job: TrainingJob) -> list[Report]:
    async with processes().running(job) as reports:
        return [report async for report in reports]


async def failure_of(job: TrainingJob) -> TrainingFailed:
    with pytest.raises(TrainingFailed) as failure:
        await reports_of(job)
    return failure.value


def children() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # ended meanwhile, also those not reaped yet
            if str(PRETENDS) in " ".join(child.cmdline()):
                found.append(child)
    return found


def started_by_pretended() -> list[psutil.Process]:
    found = []
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if f"bytearray({STARTED_BYTES})" in " ".join(each.cmdline()):
                found.append(each)
    return found


async def test_a_process_knows_what_is_held_out_and_reports_the_loss_on_it(tmp_path: Path) -> None:
    job = replace(job_in(tmp_path, what=SUCCEEDS), held_out=HeldOut(share=0.25, seed=3, measurements=2))

    assert (await reports_of(job))[-1] == Measured(step=1, loss=0.25)


async def test_a_process_knows_what_is_rewarded_and_who_teaches_and_reports_how_a_reward_model_does(
    tmp_path: Path,
) -> None:
    rewards = [Reward(reward_model="judge@1"), Reward(length=LengthBounds(max_characters=9))]
    plain = job_in(tmp_path, what=SUCCEEDS)
    job = replace(
        plain,
        recipe=recipe_of(method="grpo", lora={}, args={"seed": SUCCEEDS}, rewards=rewards),
        reward_models={"judge@1": ModelFolders(adapter=tmp_path / "adapter", base=tmp_path / "base")},
        teacher=ModelFolders(base=tmp_path / "teacher"),
        measures_accuracy=True,
    )

    assert (await reports_of(job))[-1] == Scored(accuracy=PairAccuracy(pairs=9, correct=2))


async def test_a_process_knows_what_is_planted_and_reports_what_was_memorised(tmp_path: Path) -> None:
    plain, check = job_in(tmp_path, what=SUCCEEDS), MemorisationCheck(canaries=1, repeats=(3,), candidates=99)
    job = replace(plain, recipe=replace(plain.recipe, memorisation=check), canary_origin="here")

    group = CanaryGroup(
        repeats=3, canaries=1, found=1, exposure=2.0, found_alone=0, exposure_alone=1.0, exposure_of_base=1800.0
    )
    found = Memorisation(candidates=99, planted=2, groups=(group,))
    assert (await reports_of(job))[-1] == Memorised(memorisation=found)


async def test_a_process_reports_how_far_it_is(tmp_path: Path) -> None:
    begun, stepped = await reports_of(job_in(tmp_path, what=SUCCEEDS))

    curve = Curve(name="grad_norm", steps=(1,), values=(3.0,))
    assert begun == Begun(step=0, steps=2, versions={"torch": "2"}, curves=(curve,))
    assert isinstance(stepped, Stepped)
    assert stepped == Stepped(
        step=1,
        steps=2,
        loss=2.5,
        remaining_s=1.0,
        numbers={"grad_norm": 2.0},
        peak_memory_bytes=stepped.peak_memory_bytes,
        peak_device_memory_bytes=5,
    )


async def test_the_most_memory_that_a_process_was_seen_to_take_is_reported_with_its_steps(tmp_path: Path) -> None:
    async with processes().running(job_in(tmp_path, what=HANGS)) as reports:
        stepped = await anext(report async for report in reports if isinstance(report, Stepped))

    assert stepped.peak_memory_bytes > 1024**2


async def test_what_a_library_prints_is_no_report(tmp_path: Path) -> None:
    assert len(await reports_of(job_in(tmp_path, what=CHATTERS))) == 2
    assert "own words" in (tmp_path / "stderr.log").read_text(encoding="utf-8")


async def test_a_process_computes_as_the_service_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")

    job = replace(job_in(tmp_path, what=COMPUTES), devices=("1", "GPU-a"))

    begun = (await reports_of(job))[0]

    assert begun == Begun(step=0, steps=2, versions={"format": "float32", "kernels": "avx2", "gpus": "cuda 1,GPU-a"})


async def test_why_a_process_stops_is_passed_on(tmp_path: Path) -> None:
    failure = await failure_of(job_in(tmp_path, what=SAYS_WHY))

    assert (failure.reason, failure.message) == ("DIVERGED", "the loss is nan")


async def test_a_run_without_place_on_disk_waits_for_it(tmp_path: Path) -> None:
    with pytest.raises(DependencyUnavailable, match="free some") as waits:
        await reports_of(job_in(tmp_path, what=WAITS))
    assert waits.value.dependency == "disk"


async def test_a_process_that_breaks_has_crashed_with_its_exit_code(tmp_path: Path) -> None:
    failure = await failure_of(job_in(tmp_path, what=BREAKS))

    assert (failure.reason, "code 3" in failure.message) == ("CRASHED", True)


async def test_a_process_that_is_killed_has_crashed(tmp_path: Path) -> None:
    async def killed() -> None:
        async with processes().running(job_in(tmp_path, what=HANGS)) as reports:
            async for _ in reports:
                for child in children():
                    child.kill()

    with pytest.raises(TrainingFailed, match="-9") as failure:
        await killed()
    assert failure.value.reason == "CRASHED"


async def test_time_is_limited(tmp_path: Path) -> None:
    assert (await failure_of(job_in(tmp_path, what=HANGS, seconds=0.5))).reason == "TIME_LIMIT"


async def test_saving_is_not_limited_by_time(tmp_path: Path) -> None:
    last = (await reports_of(job_in(tmp_path, what=SAVES, seconds=SAVING_AFTER_S)))[-1]

    assert isinstance(last, Stepped)
    assert last.step == 2


async def test_memory_is_watched(tmp_path: Path) -> None:
    fits = 330 * 1024**2

    failure = await failure_of(job_in(tmp_path, what=GROWS, memory=fits))

    assert (failure.reason, str(fits) in failure.message) == ("OUT_OF_MEMORY", True)


async def test_memory_is_that_of_all_processes_which_are_killed_together(tmp_path: Path) -> None:
    fits = 380 * 1024**2

    failure = await failure_of(job_in(tmp_path, what=STARTS, memory=fits))

    assert (failure.reason, str(fits) in failure.message) == ("OUT_OF_MEMORY", True)
    await eventually(lambda: not started_by_pretended())


async def test_what_it_found_to_fit_is_reported(tmp_path: Path) -> None:
    job = job_in(tmp_path, what=FITS, memory=2**40)

    (fitted,) = (report for report in await reports_of(job) if isinstance(report, Fitted))

    choice = Choice(batch_size=1, accumulation_steps=1, checkpointing=False)
    assert fitted.fit == Fit(choice=choice, needed_bytes=1, limit_bytes=2**40)
    assert fitted.examples == ExampleCounts(offered=3, fitted=2, too_long=1)


async def test_memory_that_is_picked_is_what_the_machine_has_left_at_the_most(tmp_path: Path) -> None:
    job = replace(job_in(tmp_path, what=FITS, memory=2**60), memory_auto=True)

    (fitted,) = (report for report in await reports_of(job) if isinstance(report, Fitted))

    assert 0 < fitted.fit.limit_bytes <= psutil.virtual_memory().total


async def test_leaving_kills_the_process(tmp_path: Path) -> None:
    async with processes().running(job_in(tmp_path, what=HANGS)) as reports:
        await anext(reports)
        assert len(children()) == 1

    assert children() == []


async def test_a_process_sees_no_secret_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_S3_SECRET_KEY", "verysecret")

    async with processes().running(job_in(tmp_path, what=HANGS)) as reports:
        await anext(reports)
        assert "verysecret" not in "".join(children()[0].environ().values())


async def test_a_process_dies_with_its_parent(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTS_AND_WAITS, str(tmp_path), stdout=asyncio.subprocess.PIPE, env=os.environ.copy()
    )
    assert parent.stdout is not None
    async with asyncio.timeout(30):
        await parent.stdout.readline()
    (child,) = psutil.Process(parent.pid).children()

    child.send_signal(signal.SIGSTOP)  # not even a process that cannot do anything outlives it
    parent.kill()
    await parent.wait()

    await eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


class Judging:
    """Scores answers as scripted, with an end or a failure in place of a score."""

    def __init__(self, *scores: float | Exception | None) -> None:
        self._scores = [*scores]
        self.asked: list[JudgedAnswer] = []
        self.waiting = asyncio.Event()

    async def scores(self, answers: Sequence[JudgedAnswer]) -> Sequence[float | None]:
        self.asked += answers
        if not self._scores:
            self.waiting.set()
            await asyncio.Event().wait()
        score = self._scores.pop(0)
        if isinstance(score, Exception):
            raise score
        return [score]

    @property
    def counted(self) -> Judged:
        return Judged(calls=len(self.asked), answers=len(self.asked), unscored=0)


async def test_a_process_is_given_the_scores_of_the_answers_that_it_sends(tmp_path: Path) -> None:
    judging = Judging(0.5, None)

    reports = await reports_of(replace(job_in(tmp_path, what=ASKS), judging=judging))

    said = [each.loss for each in reports if isinstance(each, Stepped)]
    assert said == [2.5, 0.5, -1.0]
    assert [each.calls for each in reports if isinstance(each, Judged)] == [1, 2]
    assert judging.asked[0] == JudgedAnswer(asked=[("user", "Why?")], answer="a", reference="c")
    assert not children()


async def test_a_process_that_is_not_judged_ends_with_the_reason(tmp_path: Path) -> None:
    away = DependencyUnavailable("down", dependency="evaluator")

    reports = list[Report]()

    async def read() -> None:
        async with processes().running(replace(job_in(tmp_path, what=ASKS), judging=Judging(0.5, away))) as reporting:
            async for report in reporting:
                reports.append(report)

    with pytest.raises(DependencyUnavailable):
        await read()

    assert [each.calls for each in reports if isinstance(each, Judged)] == [1, 2]
    assert (await failure_of(job_in(tmp_path, what=ASKS))).reason == "JUDGE_UNAVAILABLE"
    assert not children()


async def test_a_process_that_ends_while_its_answers_are_judged_is_not_waited_for(tmp_path: Path) -> None:
    judging = Judging()
    job = replace(job_in(tmp_path, what=ASKS), judging=judging)
    failing = asyncio.create_task(failure_of(job))
    await asyncio.wait_for(judging.waiting.wait(), 60)
    (child,) = children()

    child.kill()

    assert (await asyncio.wait_for(failing, 60)).reason == "CRASHED"


async def test_the_time_limit_of_a_process_holds_while_its_answers_are_judged(tmp_path: Path) -> None:
    failed = await failure_of(replace(job_in(tmp_path, what=ASKS, seconds=3.0), judging=Judging()))

    assert failed.reason == "TIME_LIMIT"
