"""The stage of a training whose new dataset versions start sweeps."""

from google.protobuf.timestamp_pb2 import Timestamp

from tidemill.trainer.v1.sweep_pb2 import Sweep, SweepState, SweepTrialState
from tidemill.trainer.v1.training_pb2 import TrainingPlan, TrainingRun
from tidemill_cli.loop.stages import Stage, time_of, training_stage


def sweep_stage(plan: TrainingPlan, sweep: Sweep | None, run: TrainingRun | None) -> Stage:
    """Return the progress or result of the newest sweep, or of a newer run, as of a sweep that could not start."""
    if sweep is None or (run is not None and run.sweep != sweep.id and _later(run.create_time, sweep.create_time)):
        return training_stage(plan, run)
    if run is not None and sweep.state == SweepState.SWEEP_STATE_TRAINING_WINNER and run.id == sweep.run:
        return training_stage(plan, run)
    state, says = _sweep(sweep)
    ended = sweep.HasField("finish_time")
    return Stage(
        stage="training",
        name=plan.id,
        state=state,
        says=f"{says} (paused)" if plan.paused and state == "running" else says,
        done=_ended(sweep),
        total=_total(sweep),
        since=time_of(sweep.finish_time if ended else sweep.create_time),
        subject=sweep.id,
    )


def _sweep(sweep: Sweep) -> tuple[str, str]:
    best = f", best loss {loss:.4f}" if (loss := _best(sweep)) is not None else ""
    trials = f"{_ended(sweep)} of {_total(sweep)} trials ended{best}"
    match sweep.state:
        case SweepState.SWEEP_STATE_RUNNING:
            return "running", f"sweep {sweep.id} on {sweep.dataset_version}: {trials}"
        case SweepState.SWEEP_STATE_TRAINING_WINNER:
            return "running", f"sweep {sweep.id}: trial {sweep.winner} is the best, and is trained in full"
        case SweepState.SWEEP_STATE_SUCCEEDED:
            return "done", f"{sweep.model_version} trained on {sweep.dataset_version} as trial {sweep.winner}: {trials}"
        case _:
            return "failed", f"sweep {sweep.id}: {sweep.reason}: {sweep.message}"


def _ended(sweep: Sweep) -> int:
    return sum(trial.state != SweepTrialState.SWEEP_TRIAL_STATE_RUNNING for trial in sweep.trials)


def _total(sweep: Sweep) -> int:
    """Return how many trials there may be; of a search that has ended, those that there were."""
    return sweep.max_trials if sweep.state == SweepState.SWEEP_STATE_RUNNING else _ended(sweep)


def _best(sweep: Sweep) -> float | None:
    measured = SweepTrialState.SWEEP_TRIAL_STATE_MEASURED
    losses = [trial.losses[-1] for trial in sweep.trials if trial.state == measured and trial.losses]
    return min(losses, default=None)


def _later(one: Timestamp, other: Timestamp) -> bool:
    return (one.seconds, one.nanos) > (other.seconds, other.nanos)
