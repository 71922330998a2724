"""The stage of a training whose new dataset versions start sweeps."""

from tidemill.trainer.v1.sweep_pb2 import Sweep, SweepState
from tidemill.trainer.v1.training_pb2 import TrainingPlan, TrainingRun
from tidemill_cli.loop.stages import Stage, time_of, training_stage
from tidemill_client.sweeps import best_loss, ended_trials


def sweep_stage(plan: TrainingPlan, sweep: Sweep | None, run: TrainingRun | None) -> Stage:
    """Return the progress or result of the newest sweep, or of a newer run, as of a sweep that could not start."""
    if sweep is None or (run is not None and run.sweep != sweep.id and _is_newer(run, sweep)):
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
        done=ended_trials(sweep),
        total=_total(sweep),
        since=time_of(sweep.finish_time if ended else sweep.create_time),
        subject=sweep.id,
    )


def _sweep(sweep: Sweep) -> tuple[str, str]:
    best = f", best loss {loss:.4f}" if (loss := best_loss(sweep)) is not None else ""
    trials = f"{ended_trials(sweep)} of {_total(sweep)} trials ended{best}"
    match sweep.state:
        case SweepState.SWEEP_STATE_RUNNING:
            return "running", f"sweep {sweep.id} on {sweep.dataset_version}: {trials}"
        case SweepState.SWEEP_STATE_TRAINING_WINNER:
            return "running", f"sweep {sweep.id}: trial {sweep.winner} is the best, and is trained in full"
        case SweepState.SWEEP_STATE_SUCCEEDED:
            return "done", f"{sweep.model_version} trained on {sweep.dataset_version} as trial {sweep.winner}: {trials}"
        case _:
            return "failed", f"sweep {sweep.id}: {sweep.reason}: {sweep.message}"


def _total(sweep: Sweep) -> int:
    """Return how many trials there may be; of a search that has ended, those that there were."""
    return sweep.max_trials if sweep.state == SweepState.SWEEP_STATE_RUNNING else ended_trials(sweep)


def _is_newer(run: TrainingRun, sweep: Sweep) -> bool:
    return run.create_time.ToNanoseconds() > sweep.create_time.ToNanoseconds()
