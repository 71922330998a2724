"""training: plans and their runs."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.progress import Progress, TaskID

from tidemill.trainer.v1.model_pb2 import PairAccuracy
from tidemill.trainer.v1.training_pb2 import TrainingFit, TrainingProgress, TrainingRun, TrainingRunState
from tidemill.trainer.v1.training_service_pb2 import ListTrainingPlansRequest, ListTrainingRunsRequest
from tidemill_cli.loop.stages import examples_in_words
from tidemill_cli.memorising import memorised_in_words
from tidemill_cli.options import Commands
from tidemill_cli.output import EXIT_ERROR, call, card, moment, plain, progress, show, word
from tidemill_cli.pages import lists
from tidemill_client.connection import Connection
from tidemill_client.pages import filter_of
from tidemill_client.training import Training

training = Commands(help="Training plans and runs.")

RunArgument = Annotated[str, typer.Argument(help="The run's id (see `tidemill training runs`).")]
WaitOption = Annotated[bool, typer.Option("--wait", "-w", help="Wait until it has ended; exit 1 unless it succeeded.")]
GIGABYTE = 1e9
LOSSES = 5
"""Number of most recent losses that `show` prints."""
DIGITS = 12
"""Of a digest, what is shown."""


@lists(
    training,
    "plans",
    lambda c: c.training.ListTrainingPlans,
    ("plan", "on each version of", "base", "method", ""),
    lambda p: (p.id, p.dataset, p.base, p.method, "paused" if p.paused else ""),
)
def list_plans() -> ListTrainingPlansRequest:
    """List the project's training plans."""
    return ListTrainingPlansRequest()


def run_row(found: TrainingRun) -> Sequence[object]:
    """Return what RUN_COLUMNS say of a run."""
    return (
        found.id,
        found.dataset_version,
        found.base,
        word(TrainingRunState, found.state),
        f"{found.progress.step}/{found.progress.steps}",
        f"{found.progress.loss:.3f}" if found.progress.HasField("loss") else "-",
        found.model_version or found.reason or "-",
    )


RUN_COLUMNS = ("run", "dataset", "base", "state", "steps", "loss", "made")


@lists(training, "runs", lambda c: c.training.ListTrainingRuns, RUN_COLUMNS, run_row)
def list_runs(
    *,
    plan: Annotated[str, typer.Option(help="Only runs of this plan.")] = "",
    sweep: Annotated[str, typer.Option(help="Only runs of this sweep, its trials too.")] = "",
    trials: Annotated[bool, typer.Option("--trials", help="Trials of sweeps, too.")] = False,
) -> ListTrainingRunsRequest:
    """List training runs, oldest first."""
    return ListTrainingRunsRequest(filter=filter_of(plan=plan, sweep=sweep), exclude_trials=not (trials or sweep))


@training.command("show")
def show_run(name: RunArgument) -> None:
    """Show a run: recipe, progress and result."""
    show_found(call(lambda c: Training(c).run(name)))


@training.command("start")
def start(
    plan: Annotated[str, typer.Argument(help="The plan, for example helpdesk_lora.")],
    *,
    dataset_version: Annotated[str, typer.Option(help="dataset@number; default: the newest.")] = "",
    priority: Annotated[
        int | None, typer.Option(help="-10 to 10: runs of a higher one are first. Default: the plan's.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it, and start nothing.")] = False,
    wait: WaitOption = False,
) -> None:
    """Start a run of a plan now."""
    wait = wait and not dry_run

    async def work(connection: Connection) -> TrainingRun:
        started = await Training(connection).start(
            plan, dataset_version=dataset_version, priority=priority, validate_only=dry_run
        )
        return await _followed(connection, started) if wait else started

    _ended(call(work), waited=wait)


@training.command("cancel")
def cancel(name: RunArgument) -> None:
    """Cancel a run and discard its results."""
    show_found(call(lambda c: Training(c).cancel(name)))


@training.command("retry")
def retry(name: RunArgument, *, wait: WaitOption = False) -> None:
    """Queue a failed or cancelled run again; it resumes from its last checkpoint."""

    async def work(connection: Connection) -> TrainingRun:
        queued = await Training(connection).retry(name)
        return await _followed(connection, queued) if wait else queued

    _ended(call(work), waited=wait)


async def _followed(connection: Connection, started: TrainingRun) -> TrainingRun:
    with progress() as bar:
        task = bar.add_task("waiting for a worker", total=None)
        return await Training(connection).wait(started.id, watch=lambda found: _advance(bar, task, found))


def _advance(bar: Progress, task: TaskID, found: TrainingRun) -> None:
    steps = found.progress.steps
    loss = f", loss {found.progress.loss:.3f}" if found.progress.HasField("loss") else ""
    description = f"{word(TrainingRunState, found.state)}{loss}"
    bar.update(task, description=description, completed=found.progress.step, total=steps or None)


def _ended(found: TrainingRun, *, waited: bool) -> None:
    show_found(found)
    if waited and found.state != TrainingRunState.TRAINING_RUN_STATE_SUCCEEDED:
        raise typer.Exit(EXIT_ERROR)


def _memory(fit: TrainingFit) -> str:
    rows = f"{fit.per_device_train_batch_size} rows at once, {fit.gradient_accumulation_steps} times a step"
    twice = ", every layer twice" if fit.gradient_checkpointing else ""
    return f"{fit.needed_bytes / GIGABYTE:.1f} of {fit.limit_bytes / GIGABYTE:.1f} GB, {rows}{twice}"


def _accuracy(found: PairAccuracy) -> str:
    """Return how a reward model does on held-out pairs, "" where it was not measured."""
    return (
        f"{found.share:.3f} [{found.low:.3f}, {found.high:.3f}] of {found.pairs} held-out pairs" if found.pairs else ""
    )


def _judged(found: TrainingRun) -> str:
    """Return what the judge of a run was asked, "" where it has none."""
    if not found.judge_version:
        return ""
    done, up_to = found.progress, f"of up to {found.estimated_judge_calls} calls"
    without = (
        f", {done.unscored_answers} of {done.judged_answers} answers without a score" if done.judged_answers else ""
    )
    return f"{found.judge_version}, {done.judge_calls} {up_to}{without}"


def _peak(found: TrainingProgress) -> str:
    """Return what it took at most; "" if that is not known."""
    taken = f"{found.peak_memory_bytes / GIGABYTE:.2f} GB" if found.peak_memory_bytes else ""
    device = found.peak_device_memory_bytes
    return ", ".join(part for part in (taken, f"{device / GIGABYTE:.2f} GB on the GPU" if device else "") if part)


def _with_digest(name: str, digest: str) -> str:
    return f"{name}  {digest[:DIGITS]}" if digest else name


def show_found(found: TrainingRun) -> None:
    """Print a run."""
    steps = found.progress
    recipe = plain(found).get("recipe") or {}
    facts = {
        "run": found.id,
        "state": word(TrainingRunState, found.state),
        "why": " ".join(part for part in (found.reason, found.message) if part),
        "plan": found.plan,
        "sweep": f"{found.sweep}, {f'trial {found.trial}' if found.trial else 'winner'}" if found.sweep else "",
        "labels": ", ".join(f"{name}={value}" for name, value in sorted(found.labels.items())),
        "notes": found.notes,
        "source": found.source,
        "parameters": ", ".join(f"{name}={value}" for name, value in sorted(found.parameters.items())),
        "dataset": _with_digest(found.dataset_version, found.dataset_digest),
        "base": _with_digest(found.base, found.base_digest),
        "made": found.model_version,
        "steps": f"{steps.step} of {steps.steps}" if steps.steps else "",
        "examples": examples_in_words(found.examples) if found.HasField("examples") else "",
        "warnings": "; ".join(found.warnings),
        "priority": found.priority or "",
        "gave way": f"{found.preemptions} times" if found.preemptions else "",
        "processes": found.processes if found.processes > 1 else "",
        "memory": _memory(found.fit) if found.HasField("fit") else "",
        "memory at its peak": _peak(steps),
        "computed": f"{steps.time.ToTimedelta().total_seconds():.0f} s" if steps.HasField("time") else "",
        "losses": ", ".join(f"{point.loss:.3f}" for point in steps.losses[-LOSSES:]),
        "held-out losses": ", ".join(f"{point.loss:.3f}" for point in steps.held_out_losses[-LOSSES:]),
        "accuracy": _accuracy(steps.accuracy),
        "judge": _judged(found),
        **memorised_in_words(steps.memorisation),
        "left": f"{steps.remaining.ToTimedelta().total_seconds():.0f} s" if steps.HasField("remaining") else "",
        "attempt": found.attempt or "",
        "began": moment(found.start_time),
        "ended": moment(found.finish_time),
        "recipe": recipe or "",
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(found.versions.items())),
    }
    show(plain(found), card({name: value for name, value in facts.items() if value != ""}))
