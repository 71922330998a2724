"""training: plans and their runs."""

import uuid
from typing import Annotated

import typer
from rich.progress import Progress, TaskID

from tidemill.trainer.v1.training_pb2 import TrainingFit, TrainingRun, TrainingRunState
from tidemill.trainer.v1.training_service_pb2 import (
    ListTrainingPlansRequest,
    ListTrainingPlansResponse,
    ListTrainingRunsRequest,
    ListTrainingRunsResponse,
)
from tidemill_cli.loop.stages import examples_in_words
from tidemill_cli.output import (
    EXIT_ERROR,
    JsonOption,
    ProjectOption,
    card,
    chosen_project,
    moment,
    plain,
    progress,
    run,
    show,
    table,
    word,
)
from tidemill_cli.pages import SizeOption, TokenOption, show_page
from tidemill_client.connection import Connection
from tidemill_client.training import Training

training = typer.Typer(help="Training plans and runs.", no_args_is_help=True)

RunArgument = Annotated[str, typer.Argument(help="The run's id (see `tidemill training runs`).")]
WaitOption = Annotated[bool, typer.Option("--wait", "-w", help="Wait until it has ended; exit 1 unless it succeeded.")]
GIGABYTE = 1e9
LOSSES = 5
"""Number of most recent losses that `show` prints."""


@training.command("plans")
def list_plans(
    *, size: SizeOption = 50, token: TokenOption = "", project: ProjectOption = "", as_json: JsonOption = False
) -> None:
    """List the project's training plans."""

    async def work() -> ListTrainingPlansResponse:
        request = ListTrainingPlansRequest(page_size=size, page_token=token)
        async with Connection(chosen_project(project)) as connection:
            return await connection.training.ListTrainingPlans(request)

    page = run(work(), as_json=as_json)
    rows = [(p.id, p.dataset, p.base, p.method, "paused" if p.paused else "") for p in page.plans]
    picture = table(("plan", "on each version of", "base", "method", ""), rows)
    show_page("plans", page.plans, page.next_page_token, picture, as_json=as_json)


@training.command("runs")
def list_runs(
    *,
    plan: Annotated[str, typer.Option(help="Only runs of this plan.")] = "",
    size: SizeOption = 50,
    token: TokenOption = "",
    project: ProjectOption = "",
    as_json: JsonOption = False,
) -> None:
    """List training runs, oldest first."""

    async def work() -> ListTrainingRunsResponse:
        request = ListTrainingRunsRequest(page_size=size, page_token=token, plan=plan)
        async with Connection(chosen_project(project)) as connection:
            return await connection.training.ListTrainingRuns(request)

    page = run(work(), as_json=as_json)
    rows = [
        (
            r.id,
            r.dataset_version,
            r.base,
            word(TrainingRunState, r.state),
            f"{r.progress.step}/{r.progress.steps}",
            f"{r.progress.loss:.3f}" if r.progress.HasField("loss") else "-",
            r.model_version or r.reason or "-",
        )
        for r in page.runs
    ]
    picture = table(("run", "dataset", "base", "state", "steps", "loss", "made"), rows)
    show_page("runs", page.runs, page.next_page_token, picture, as_json=as_json)


@training.command("show")
def show_run(name: RunArgument, *, project: ProjectOption = "", as_json: JsonOption = False) -> None:
    """Show a run: recipe, progress and result."""

    async def work() -> TrainingRun:
        async with Connection(chosen_project(project)) as connection:
            return await Training(connection).run(name)

    _show(run(work(), as_json=as_json), as_json=as_json)


@training.command("start")
def start(
    plan: Annotated[str, typer.Argument(help="The plan, for example helpdesk_lora.")],
    *,
    dataset_version: Annotated[str, typer.Option(help="dataset@number; default: the newest.")] = "",
    wait: WaitOption = False,
    project: ProjectOption = "",
    as_json: JsonOption = False,
) -> None:
    """Start a run of a plan now."""

    async def work() -> TrainingRun:
        async with Connection(chosen_project(project)) as connection:
            request_id = str(uuid.uuid4())
            started = await Training(connection).start(plan, dataset_version=dataset_version, request_id=request_id)
            return await _followed(connection, started) if wait else started

    _ended(run(work(), as_json=as_json), waited=wait, as_json=as_json)


@training.command("cancel")
def cancel(name: RunArgument, *, project: ProjectOption = "", as_json: JsonOption = False) -> None:
    """Cancel a run and discard its results."""

    async def work() -> TrainingRun:
        async with Connection(chosen_project(project)) as connection:
            return await Training(connection).cancel(name)

    _show(run(work(), as_json=as_json), as_json=as_json)


@training.command("retry")
def retry(
    name: RunArgument, *, wait: WaitOption = False, project: ProjectOption = "", as_json: JsonOption = False
) -> None:
    """Queue a failed or cancelled run again; it resumes from its last checkpoint."""

    async def work() -> TrainingRun:
        async with Connection(chosen_project(project)) as connection:
            queued = await Training(connection).retry(name)
            return await _followed(connection, queued) if wait else queued

    _ended(run(work(), as_json=as_json), waited=wait, as_json=as_json)


async def _followed(connection: Connection, started: TrainingRun) -> TrainingRun:
    with progress() as bar:
        task = bar.add_task("waiting for a worker", total=None)
        return await Training(connection).wait(started.id, watch=lambda found: _advance(bar, task, found))


def _advance(bar: Progress, task: TaskID, found: TrainingRun) -> None:
    steps = found.progress.steps
    loss = f", loss {found.progress.loss:.3f}" if found.progress.HasField("loss") else ""
    description = f"{word(TrainingRunState, found.state)}{loss}"
    bar.update(task, description=description, completed=found.progress.step, total=steps or None)


def _ended(found: TrainingRun, *, waited: bool, as_json: bool) -> None:
    _show(found, as_json=as_json)
    if waited and found.state != TrainingRunState.TRAINING_RUN_STATE_SUCCEEDED:
        raise typer.Exit(EXIT_ERROR)


def _memory(fit: TrainingFit) -> str:
    rows = f"{fit.per_device_train_batch_size} rows at once, {fit.gradient_accumulation_steps} times a step"
    twice = ", every layer twice" if fit.gradient_checkpointing else ""
    return f"{fit.needed_bytes / GIGABYTE:.1f} of {fit.limit_bytes / GIGABYTE:.1f} GB, {rows}{twice}"


def _show(found: TrainingRun, *, as_json: bool) -> None:
    steps = found.progress
    recipe = plain(found).get("recipe") or {}
    facts = {
        "run": found.id,
        "state": word(TrainingRunState, found.state),
        "why": " ".join(part for part in (found.reason, found.message) if part),
        "plan": found.plan,
        "dataset": found.dataset_version,
        "base": found.base,
        "made": found.model_version,
        "steps": f"{steps.step} of {steps.steps}" if steps.steps else "",
        "examples": examples_in_words(found.examples) if found.HasField("examples") else "",
        "warnings": "; ".join(found.warnings),
        "memory": _memory(found.fit) if found.HasField("fit") else "",
        "losses": ", ".join(f"{point.loss:.3f}" for point in steps.losses[-LOSSES:]),
        "left": f"{steps.remaining.ToTimedelta().total_seconds():.0f} s" if steps.HasField("remaining") else "",
        "attempt": found.attempt or "",
        "began": moment(found.start_time),
        "ended": moment(found.finish_time),
        "recipe": recipe or "",
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(found.versions.items())),
    }
    show(plain(found), card({name: value for name, value in facts.items() if value != ""}), as_json=as_json)
