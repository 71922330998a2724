"""What a continued demo does where a search for settings found no winner, or could not start."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from tidemill.trainer.v1 import sweep_pb2 as pb
from tidemill.trainer.v1.training_pb2 import TrainingPlan, TrainingRun, TrainingRunState
from tidemill_core.errors import Internal
from tidemill_helpdesk import patience, watching
from tidemill_helpdesk.turn import PLAN

FAILED, SUCCEEDED = TrainingRunState.TRAINING_RUN_STATE_FAILED, TrainingRunState.TRAINING_RUN_STATE_SUCCEEDED
REFUSED = TrainingRun(id="r-0", state=FAILED, reason="SWEEP_NOT_STARTED", message="base smollm2@1 is gone")


def sweep(state: pb.SweepState.ValueType, *, winner: int = 0) -> pb.Sweep:
    return pb.Sweep(id="s-1", plan=PLAN, state=state, winner=winner, reason="ALL_TRIALS_FAILED", message="no memory")


@dataclass
class Trainer:
    """Stands for the trainer: the sweeps and runs of one plan."""

    sweeps: list[pb.Sweep] = field(default_factory=list)
    trained: list[TrainingRun] = field(default_factory=list)
    later: list[TrainingRun] = field(default_factory=list)
    """What appears after the first time that runs are listed."""
    retried: list[str] = field(default_factory=list)

    async def newest(self, plan: str) -> pb.Sweep | None:
        assert plan == PLAN
        return self.sweeps[-1] if self.sweeps else None

    async def create(self, asked: pb.Sweep) -> pb.Sweep:
        """Its first trial wins at once."""
        winning = pb.Sweep(state=pb.SWEEP_STATE_TRAINING_WINNER, winner=1)
        winning.MergeFrom(asked)
        self.sweeps.append(winning)
        return winning

    async def plan(self, plan: str) -> TrainingPlan:
        declared = TrainingPlan(id=plan, labels={"team": "support"})
        declared.sweep.space.add(setting="args.learning_rate").range.CopyFrom(pb.SweepRange(low=1e-4, high=1e-3))
        declared.sweep.max_trials, declared.sweep.seed = 6, 7
        declared.sweep.pruning.startup_trials = 2
        return declared

    async def runs(self, *, plan: str, exclude_trials: bool) -> AsyncIterator[TrainingRun]:
        assert (plan, exclude_trials) == (PLAN, True)
        for run in self.trained:
            yield run
        self.trained, self.later = self.trained + self.later, []

    async def retry(self, run: str) -> None:
        self.retried.append(run)


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    there = Trainer()
    for name in ("Sweeps", "Training"):
        monkeypatch.setattr(watching, name, lambda _: there)
    monkeypatch.setattr(patience, "POLL_S", 0.0)
    return there


async def searched(*, retry: bool) -> pb.Sweep:
    return await watching.searched(cast("Any", None), PLAN, retry=retry)


@pytest.mark.parametrize("trained", [[], [REFUSED]], ids=["failed", "not started"])
async def test_a_continued_demo_searches_again_as_the_plan_declares(
    trainer: Trainer, trained: list[TrainingRun]
) -> None:
    trainer.trained = trained
    trainer.sweeps = [] if trained else [sweep(pb.SWEEP_STATE_FAILED)]

    found = await searched(retry=True)

    assert (found.winner, found.plan, found.max_trials, found.seed) == (1, PLAN, 6, 7)
    assert (found.space[0].setting, found.pruning.startup_trials) == ("args.learning_rate", 2)
    assert found.id.startswith(f"{PLAN}-again-")
    assert found.labels == {"team": "support"}


@pytest.mark.parametrize("state", [pb.SWEEP_STATE_TRAINING_WINNER, pb.SWEEP_STATE_SUCCEEDED, pb.SWEEP_STATE_FAILED])
async def test_a_search_with_a_winner_is_not_begun_again(trainer: Trainer, state: pb.SweepState.ValueType) -> None:
    trainer.sweeps = [sweep(state, winner=2)]

    assert (await searched(retry=True)).winner == 2
    assert len(trainer.sweeps) == 1


async def test_a_sweep_without_a_winner_ends_the_step_with_its_reason(trainer: Trainer) -> None:
    trainer.sweeps = [sweep(pb.SWEEP_STATE_FAILED)]

    with pytest.raises(Internal, match="ALL_TRIALS_FAILED no memory"):
        await searched(retry=False)


async def test_a_sweep_that_could_not_start_ends_the_step_with_its_cause(trainer: Trainer) -> None:
    trainer.trained = [REFUSED]

    with pytest.raises(Internal, match="could not start: base smollm2@1 is gone"):
        await searched(retry=False)


async def test_the_run_that_stands_for_a_sweep_is_neither_watched_nor_retried(trainer: Trainer) -> None:
    trainer.trained, trainer.later = [REFUSED], [TrainingRun(id="r-1", state=SUCCEEDED, model_version=f"{PLAN}@1")]

    run = await watching.trained(cast("Any", None), PLAN, retry=True)

    assert (run.id, trainer.retried) == ("r-1", [])
