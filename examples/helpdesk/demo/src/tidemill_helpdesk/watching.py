"""Watching what the services do by themselves: a sweep, a training run, an evaluation."""

import uuid

from tidemill.evaluator.v1.evaluation_pb2 import Evaluation, EvaluationState
from tidemill.trainer.v1.sweep_pb2 import Sweep, SweepState
from tidemill.trainer.v1.training_pb2 import TrainingPlan, TrainingRun, TrainingRunState
from tidemill_cli.output import progress
from tidemill_client.connection import Connection
from tidemill_client.evaluations import ENDED as EVALUATION_ENDED
from tidemill_client.evaluations import Evaluations
from tidemill_client.sweeps import ENDED as SWEEP_ENDED
from tidemill_client.sweeps import Sweeps, best_loss, ended_trials
from tidemill_client.training import ENDED as TRAINING_ENDED
from tidemill_client.training import Training
from tidemill_core.errors import Internal
from tidemill_helpdesk.patience import LIMIT_S, until

SWEEP_NOT_STARTED = "SWEEP_NOT_STARTED"
"""The reason of the failed run that stands for a sweep which could not start."""


async def searched(connection: Connection, plan: str, *, retry: bool = False) -> Sweep:
    """Return the sweep of a plan once its winner is known; with `retry`, search again where none was found before.

    Raises:
        Internal: it has none, or could not start.

    """
    sweeps, training = Sweeps(connection), Training(connection)
    if retry and _is_without_winner(await sweeps.newest(plan), await _not_started(training, plan)):
        await sweeps.create(_declared(await training.plan(plan)))
    with progress() as bar:
        task = bar.add_task("waiting for the sweep", total=None)

        async def decided() -> Sweep | TrainingRun | None:
            found = await sweeps.newest(plan)
            if found is None:
                return await _not_started(training, plan)
            best = "" if (loss := best_loss(found)) is None else f", best held-out loss {loss:.3f}"
            bar.update(task, description=f"trials{best}", total=found.max_trials, completed=ended_trials(found))
            winning = found.state == SweepState.SWEEP_STATE_TRAINING_WINNER
            return found if winning or found.state in SWEEP_ENDED else None

        found: Sweep | TrainingRun = await until(decided, "no sweep found a winner", limit_s=2 * LIMIT_S)
    if isinstance(found, TrainingRun):
        message = f"the sweep could not start: {found.message}"
        raise Internal(message)
    if not found.winner:
        message = f"the sweep failed: {found.reason} {found.message}"
        raise Internal(message)
    return found


def _is_without_winner(newest: Sweep | None, refused: TrainingRun | None) -> bool:
    """Return whether a plan's search has ended without a winner, or could not begin."""
    if newest is None:
        return refused is not None
    return newest.state in SWEEP_ENDED and not newest.winner


async def _not_started(training: Training, plan: str) -> TrainingRun | None:
    """Return the failed run of a sweep that could not start."""
    runs = [each async for each in training.runs(plan=plan, exclude_trials=True)]
    return next((each for each in reversed(runs) if each.reason == SWEEP_NOT_STARTED), None)


def _declared(plan: TrainingPlan) -> Sweep:
    """Return the sweep that a plan declares, of the newest version of its dataset."""
    fields = {field.name: value for field, value in plan.sweep.ListFields()}
    return Sweep(id=f"{plan.id}-again-{uuid.uuid4().hex[:8]}", plan=plan.id, labels=plan.labels, **fields)


async def trained(connection: Connection, plan: str, *, retry: bool = False) -> TrainingRun:
    """Return the newest run of a plan once it has succeeded; with `retry`, retry one that has failed before.

    Raises:
        Internal: it has failed.

    """
    training = Training(connection)
    runs = await _started(training, plan) if retry else []
    if runs and runs[-1].state in TRAINING_ENDED - {TrainingRunState.TRAINING_RUN_STATE_SUCCEEDED}:
        await training.retry(runs[-1].id)
    with progress() as bar:
        task = bar.add_task("waiting for the training run", total=None)

        async def ended() -> TrainingRun | None:
            if not (runs := await _started(training, plan)):
                return None
            run = runs[-1]
            if run.progress.steps:
                text = f"training, loss {run.progress.loss:.2f}"
                bar.update(task, description=text, total=run.progress.steps, completed=run.progress.step)
            return run if run.state in TRAINING_ENDED else None

        run = await until(ended, "no training run finished")
    if run.state != TrainingRunState.TRAINING_RUN_STATE_SUCCEEDED:
        message = f"training failed: {run.reason} {run.message}"
        raise Internal(message)
    return run


async def _started(training: Training, plan: str) -> list[TrainingRun]:
    """Return the runs of a plan, the newest last, less its trials and what stands for a sweep that could not start."""
    runs = training.runs(plan=plan, exclude_trials=True)
    return [each async for each in runs if each.reason != SWEEP_NOT_STARTED]


async def judged(connection: Connection, gate: str, candidate: str, *, retry: bool = False) -> Evaluation:
    """Return the evaluation that a new version triggers once it has a verdict; with `retry`, start a failed one again.

    Raises:
        Internal: it has no verdict.

    """
    evaluations = Evaluations(connection)
    found = [each async for each in evaluations.all(gate=gate, candidate=candidate)] if retry else []
    if found and found[-1].state in EVALUATION_ENDED - {EvaluationState.EVALUATION_STATE_COMPLETED}:
        await evaluations.start(gate, candidate, request_id=str(uuid.uuid4()))
    with progress() as bar:
        task = bar.add_task("waiting for the evaluation", total=None)

        async def ended() -> Evaluation | None:
            found = [each async for each in evaluations.all(gate=gate, candidate=candidate)]
            if not found:
                return None
            latest = found[-1]
            if latest.cases:
                bar.update(task, description="cases", total=latest.cases, completed=latest.answered)
            return latest if latest.state in EVALUATION_ENDED else None

        listed = await until(ended, "no evaluation finished")
    evaluation = await evaluations.get(listed.id)
    if evaluation.state != EvaluationState.EVALUATION_STATE_COMPLETED:
        message = f"the evaluation has no verdict: {evaluation.reason} {evaluation.message}"
        raise Internal(message)
    return evaluation
