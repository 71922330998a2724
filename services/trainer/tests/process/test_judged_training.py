"""Trainings whose answers a judge scores, by a real process: killed, without sense, and silent."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from services.trainer.tests.learning.tiny import write_base
from services.trainer.tests.process.test_training_process import has_ended, import_base, run_of, trainer
from services.trainer.tests.process.trainer_process import TrainerProcess
from tidemill.evaluator.v1 import judge_service_pb2
from tidemill.evaluator.v1.judge_service_pb2_grpc import add_JudgeServiceServicer_to_server
from tidemill.trainer.v1 import training_pb2
from tidemill.trainer.v1 import training_service_pb2 as rpc
from tidemill.trainer.v1.training_service_pb2_grpc import TrainingServiceStub
from tidemill_core.errors import DependencyUnavailable
from tidemill_testkit.access import admin_channel
from tidemill_testkit.polling import eventually
from tidemill_testkit.stubs.evaluator import StubJudges

STEPS, OF_STEP = 12, 4
RUNNING = training_pb2.TRAINING_RUN_STATE_RUNNING
VERSION = "tone@1-0123456789ab"
SETTINGS = {
    "TRAINER_RUN_CHECKPOINT_STEPS": "2",
    "TRAINER_JUDGE_TIMEOUT_S": "60",
    "TRAINER_JUDGE_WAIT_S": "1",
    "TRAINER_JUDGE_MAX_CONCURRENT": str(OF_STEP),
}
__all__ = ["trainer"]


class ScriptedJudge:
    """Scores by a digest of question and answer; answers nothing after some answers, nonsense, or that it is down."""

    def __init__(self) -> None:
        self.answered: list[tuple[str, str]] = []
        self.hangs_after = -1
        self.is_hung = asyncio.Event()
        self.sense = True
        self.is_down = False

    async def __call__(self, request: judge_service_pb2.ScoreAnswerRequest) -> float | None:
        if len(self.answered) == self.hangs_after:
            self.is_hung.set()
            await asyncio.Event().wait()
        if self.is_down:
            message = "down"
            raise DependencyUnavailable(message, dependency="inference")
        pair = request.question, request.answer
        self.answered.append(pair)
        return hashlib.sha256("/".join(pair).encode()).digest()[0] / 255 if self.sense else None


@pytest.fixture
async def judge(trainer: TrainerProcess) -> AsyncIterator[ScriptedJudge]:
    said, stub, server = ScriptedJudge(), StubJudges(), grpc.aio.server()  # type: ignore[abstract] # what trainer calls
    stub.add("tone", version=VERSION, says=said, project="acme")
    add_JudgeServiceServicer_to_server(stub, server)
    trainer.evaluator = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    trainer.variables = {**trainer.variables, **SETTINGS}
    await server.start()
    yield said
    await server.stop(None)


@pytest.mark.long
@pytest.mark.timeout(500)
async def test_a_judged_training_that_is_killed_asks_about_each_answer_once_and_ends_without_sense(
    trainer: TrainerProcess,
    judge: ScriptedJudge,
    tmp_path: Path,
) -> None:
    base = await asyncio.to_thread(write_base, tmp_path / "base")
    await asyncio.to_thread(trainer.start)
    await import_base(trainer, base)
    judge.hangs_after = 5 * OF_STEP
    queued = await _start(trainer)
    await asyncio.wait_for(judge.is_hung.wait(), 120)
    await asyncio.to_thread(trainer.kill)
    judge.hangs_after = -1
    await asyncio.to_thread(trainer.start)
    await eventually(lambda: has_ended(trainer, queued), within_s=120)
    run = await run_of(trainer, queued)

    assert (run.state, run.reason) == (training_pb2.TRAINING_RUN_STATE_SUCCEEDED, "")
    assert (run.judge_version, run.estimated_judge_calls) == (VERSION, STEPS * OF_STEP)
    assert len(set(judge.answered)) == len(judge.answered)
    assert 1 <= run.progress.judge_calls - len(judge.answered) <= OF_STEP  # what was asked when it was killed
    assert (run.attempt, run.progress.unscored_answers) == (2, 0)
    curves: Mapping[str, int] = {curve.name: len(curve.values) for curve in run.progress.curves}
    assert (curves["rewards/judge/mean"], curves["judge/unscored"]) == (STEPS, STEPS)
    log = await asyncio.to_thread(trainer.log.read_text)
    assert not any(text and text in log for pair in judge.answered for text in pair if len(text) > OF_STEP)

    judge.sense = False
    failing = await _start(trainer, seed=8)
    await eventually(lambda: has_ended(trainer, failing), within_s=120)
    failed = await run_of(trainer, failing)

    assert (failed.state, failed.reason) == (training_pb2.TRAINING_RUN_STATE_FAILED, "JUDGE_UNRELIABLE")
    assert failed.model_version == ""


@pytest.mark.long
@pytest.mark.timeout(500)
async def test_a_training_waits_for_a_judge_that_is_down_and_goes_on_with_what_it_said_before(
    trainer: TrainerProcess,
    judge: ScriptedJudge,
    tmp_path: Path,
) -> None:
    base = await asyncio.to_thread(write_base, tmp_path / "base")
    await asyncio.to_thread(trainer.start)
    await import_base(trainer, base)
    queued = await _start(trainer)
    await eventually(lambda: _has_answered(judge, 3 * OF_STEP), within_s=120)
    judge.is_down = True
    await eventually(lambda: _waits(trainer, queued), within_s=120)
    judge.is_down = False
    await eventually(lambda: has_ended(trainer, queued), within_s=120)
    run = await run_of(trainer, queued)

    assert (run.state, run.reason) == (training_pb2.TRAINING_RUN_STATE_SUCCEEDED, "")
    assert len(set(judge.answered)) == len(judge.answered) == run.progress.judge_calls


async def _start(process: TrainerProcess, *, seed: int = 7) -> str:
    args = {
        "max_steps": STEPS,
        "per_device_train_batch_size": OF_STEP,
        "num_generations": OF_STEP,
        "seed": seed,
        "max_completion_length": 8,
        "max_length": 128,
        "learning_rate": 0.01,
    }
    plan = training_pb2.TrainingPlan(
        id=f"judged{seed}",
        dataset="sft",
        base="tiny",
        method="grpo",
        args=ParseDict(args, Struct()),
        rewards=[training_pb2.TrainingReward(judge=training_pb2.TrainingJudge(id="tone"))],
    )
    async with admin_channel(f"127.0.0.1:{process.port}", project="acme") as channel:
        stub = TrainingServiceStub(channel)
        await stub.CreateTrainingPlan(rpc.CreateTrainingPlanRequest(plan=plan))
        return (await stub.StartTrainingRun(rpc.StartTrainingRunRequest(plan=plan.id))).run.id


async def _has_answered(judge: ScriptedJudge, count: int) -> bool:
    return len(judge.answered) >= count


async def _waits(process: TrainerProcess, name: str) -> bool:
    run = await run_of(process, name)
    assert run.state in {training_pb2.TRAINING_RUN_STATE_QUEUED, RUNNING}, run
    return run.message.startswith("waits for ")
