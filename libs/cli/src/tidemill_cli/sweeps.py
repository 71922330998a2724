"""sweeps: searches for better settings of training plans."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.json_format import ParseDict
from google.protobuf.json_format import ParseError as NotOfTheForm
from rich.console import Group
from rich.progress import Progress, TaskID

from tidemill.trainer.v1.sweep_pb2 import Sweep, SweepBudget, SweepDimension, SweepPruning, SweepState, SweepTrialState
from tidemill.trainer.v1.sweep_service_pb2 import ListSweepsRequest
from tidemill_cli.options import Commands, labels_of
from tidemill_cli.output import EXIT_ERROR, call, card, moment, plain, progress, show, table, word, writing
from tidemill_cli.pages import lists
from tidemill_client.connection import Connection
from tidemill_client.pages import filter_of
from tidemill_client.sweeps import ENDED, Sweeps, best_loss, ended_trials
from tidemill_core.errors import InvalidInput

sweeps = Commands(help="Searches for better settings of training plans.")

SweepArgument = Annotated[str, typer.Argument(help="The sweep.")]
_RANGE = re.compile(r"(?P<low>[0-9.eE+-]+)\.\.(?P<high>[0-9.eE+-]+)(?P<log>:log)?")
FORM = "args.learning_rate=1e-5..1e-3:log, args.max_steps=20..80 or lora.r=[4, 8, 16]"


@lists(
    sweeps,
    "list",
    lambda c: c.sweeps.ListSweeps,
    ("sweep", "plan", "dataset", "state", "trials", "best loss", "made"),
    lambda s: (
        s.id,
        s.plan,
        s.dataset_version,
        word(SweepState, s.state),
        f"{ended_trials(s)}/{s.max_trials}",
        _best(s),
        s.model_version or s.reason or "-",
    ),
)
def list_sweeps(*, plan: Annotated[str, typer.Option(help="Only sweeps of this plan.")] = "") -> ListSweepsRequest:
    """List the project's sweeps, oldest first."""
    return ListSweepsRequest(filter=filter_of(plan=plan))


@sweeps.command("show")
def show_sweep(
    name: SweepArgument,
    *,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with plots to this file.")] = None,
) -> None:
    """Show a sweep with its trials."""
    found = call(lambda c: Sweeps(c).get(name))
    if html is not None:
        _write_page(found, html)
    _show(found)


@sweeps.command("create")
def create(
    name: SweepArgument,
    *,
    plan: Annotated[str, typer.Option("--plan", help="The training plan whose settings are the start.")],
    search: Annotated[list[str], typer.Option("--search", "-s", help=f"What is searched, as {FORM}; repeat it.")],
    dataset_version: Annotated[str, typer.Option(help="dataset@number; default: the newest.")] = "",
    trials: Annotated[int, typer.Option("--trials", min=1, help="So many settings are tried.")] = 12,
    parallel: Annotated[int, typer.Option("--parallel", min=1, help="So many trials side by side.")] = 1,
    keep_percent: Annotated[
        float, typer.Option("--keep-percent", min=1, max=100, help="Trials not among the best end early; 100: none.")
    ] = 50.0,
    startup_trials: Annotated[
        int, typer.Option("--startup-trials", min=1, help="So many come to their end before others end early.")
    ] = 3,
    warmup: Annotated[
        int, typer.Option("--warmup-measurements", min=0, help="No trial ends before so many measurements.")
    ] = 0,
    held_out: Annotated[
        float, typer.Option("--held-out", help="Share of the train split that trials are measured on, 0.05 to 0.5.")
    ] = 0.2,
    measurements: Annotated[
        int, typer.Option("--measurements", min=1, help="How often a trial is measured, the last time at its end.")
    ] = 5,
    hours: Annotated[float, typer.Option("--hours", min=0, help="Computing time of all trials; 0: no limit.")] = 0.0,
    cost: Annotated[float, typer.Option("--cost", min=0, help="What all trials may cost; 0: no limit.")] = 0.0,
    price: Annotated[float, typer.Option("--price-per-hour", min=0, help="What an hour of a trial costs.")] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the search and the held-out part.")] = 0,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", "-l", help="A label of sweep and runs, name=value; repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it, and start nothing.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Wait until it ended; exit 1 unless it succeeded.")
    ] = False,
) -> None:
    """Search for better settings of a plan, and train the best on the whole dataset version."""

    async def work(connection: Connection) -> Sweep:
        requested = Sweep(
            id=name,
            plan=plan,
            dataset_version=dataset_version,
            space=[_dimension(each) for each in search],
            max_trials=trials,
            max_parallel=parallel,
            held_out=held_out,
            measurements=measurements,
            pruning=SweepPruning(keep_percent=keep_percent, startup_trials=startup_trials, warmup_measurements=warmup),
            labels=labels_of(label or []),
            budget=_budget(hours, cost, price),
            seed=seed,
        )
        created = await Sweeps(connection).create(requested, validate_only=dry_run)
        return await _followed(connection, created) if wait and not dry_run else created

    found = call(work)
    _show(found)
    if wait and not dry_run and found.state != SweepState.SWEEP_STATE_SUCCEEDED:
        raise typer.Exit(EXIT_ERROR)


@sweeps.command("cancel")
def cancel(name: SweepArgument) -> None:
    """Cancel a sweep and its runs; no model version is registered, unless that has begun."""
    _show(call(lambda c: Sweeps(c).cancel(name)))


@sweeps.command("delete")
def delete(name: SweepArgument) -> None:
    """Delete a sweep that has ended; its runs and its model version stay."""
    found = call(lambda c: Sweeps(c).delete(name))
    show(plain(found), f"{name} is deleted")


def _budget(hours: float, cost: float, price: float) -> SweepBudget:
    budget = SweepBudget(cost=cost, price_per_hour=price)
    if hours:
        budget.time.FromTimedelta(timedelta(hours=hours))
    return budget


def _dimension(text: str) -> SweepDimension:
    """Return a dimension of what was typed.

    Raises:
        InvalidInput: it has another form.

    """
    setting, found, values = text.partition("=")
    message = f"--search {text[:80]!r} has another form: use {FORM}"
    if not found:
        raise InvalidInput(message)
    try:
        if bounds := _RANGE.fullmatch(values):
            limits = {"low": float(bounds["low"]), "high": float(bounds["high"]), "log": bool(bounds["log"])}
            return ParseDict({"setting": setting, "range": limits}, SweepDimension())
        return ParseDict({"setting": setting, "choices": json.loads(values)}, SweepDimension())
    except (ValueError, NotOfTheForm) as error:
        raise InvalidInput(message) from error


async def _followed(connection: Connection, created: Sweep) -> Sweep:
    with progress() as bar:
        task = bar.add_task("waiting for a worker", total=created.max_trials)
        return await Sweeps(connection).wait(created.id, watch=lambda found: _advance(bar, task, found))


def _advance(bar: Progress, task: TaskID, found: Sweep) -> None:
    bar.update(
        task, description=f"{word(SweepState, found.state)}, best loss {_best(found)}", completed=ended_trials(found)
    )


def _best(found: Sweep) -> str:
    return "-" if (loss := best_loss(found)) is None else f"{loss:.4f}"


def _write_page(found: Sweep, path: Path) -> None:
    from tidemill_cli.sweep_page import sweep_page  # noqa: PLC0415 - with what draws, which takes a second

    with writing(path):
        path.write_text(sweep_page(found), encoding="utf-8")


def trial_rows(found: Sweep) -> list[tuple[str, ...]]:
    """Return number, settings, state, losses and time of each trial, in words."""
    rows = []
    for trial in found.trials:
        settings: dict[str, Any] = plain(trial).get("settings") or {}
        state = word(SweepTrialState, trial.state)
        rows.append(
            (
                f"{trial.number}{' *' if trial.number == found.winner else ''}",
                *(_short(settings.get(each.setting)) for each in found.space),
                f"{state}: {trial.reason}" if trial.reason else state,
                " ".join(f"{loss:.4f}" for loss in trial.losses) or "-",
                f"{trial.time.ToTimedelta().total_seconds():.0f} s",
            )
        )
    return rows


def trial_columns(found: Sweep) -> tuple[str, ...]:
    """Return the columns of `trial_rows`."""
    return ("trial", *(each.setting.partition(".")[2] for each in found.space), "state", "held-out losses", "took")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)


def _show(found: Sweep) -> None:
    facts = {
        "sweep": found.id,
        "state": word(SweepState, found.state),
        "why": " ".join(part for part in (found.reason, found.message) if part),
        "plan": found.plan,
        "dataset": found.dataset_version,
        "base": found.base,
        "trials": f"{ended_trials(found)} of {found.max_trials} ended",
        "best loss": _best(found),
        "winner": f"trial {found.winner}, run {found.run}" if found.winner else "",
        "made": found.model_version,
        "computed": f"{found.time.ToTimedelta().total_seconds():.0f} s",
        "cost": f"{found.cost:.2f}" if found.budget.price_per_hour else "",
        "ended": moment(found.finish_time) if found.state in ENDED else "",
    }
    picture = card({name: value for name, value in facts.items() if value != ""})
    show(plain(found), Group(picture, table(trial_columns(found), trial_rows(found))))
