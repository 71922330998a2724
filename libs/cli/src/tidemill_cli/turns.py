"""loop: list, status, pause and resume."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tidemill_cli.loop.stages import Stage
from tidemill_cli.loop.turns import Loops
from tidemill_cli.options import Commands, options
from tidemill_cli.output import call, show, stdout, table
from tidemill_client.connection import Connection

loop = Commands(help="Status of applied loops; pause and resume.")

LoopArgument = Annotated[str, typer.Argument(help="The loop's name (metadata.name in its file).")]
WATCH_S = 1.0
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400
_STYLES = {
    "running": "cyan",
    "done": "green",
    "failed": "red",
    "held": "magenta",
    "paused": "yellow",
    "unknown": "red",
    "waiting": "dim",
}


@loop.command("list")
def list_loops() -> None:
    """List the project's loops."""
    loops = call(lambda c: Loops(c).all())
    rows = [
        (
            found.name,
            len(found.parts),
            ", ".join(name for kind, name in found.parts if kind == "deployment") or "-",
            ", ".join(f"{kind} {name}" for kind, name in found.paused) or "-",
        )
        for found in loops
    ]
    data = {
        "loops": [{"name": found.name, "parts": _named(found.parts), "paused": _named(found.paused)} for found in loops]
    }
    show(data, table(("loop", "parts", "deployments", "paused"), rows))


@loop.command("status")
def status(
    name: LoopArgument, *, watch: Annotated[bool, typer.Option("--watch", "-w", help="Watch until Ctrl-C.")] = False
) -> None:
    """Show every stage of a loop: state, progress, and what it is waiting for."""

    async def work(connection: Connection) -> None:
        loops = Loops(connection)
        if not watch:
            stages = await loops.status(name)
            show(_data(name, stages), _picture(stages))
        elif stdout.is_terminal and not options().as_json:
            await _watch(loops, name)
        else:
            await _print_changes(loops, name)

    call(work)


async def _watch(loops: Loops, name: str) -> None:
    with Live(_picture(await loops.status(name)), console=stdout, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(WATCH_S)
            live.update(_picture(await loops.status(name)), refresh=True)


async def _print_changes(loops: Loops, name: str) -> None:
    """Print all stages whenever one of them changes."""
    before: list[Stage] = []
    while True:
        stages = await loops.status(name)
        if stages != before:
            show(_data(name, stages), _picture(stages))
            before = stages
        await asyncio.sleep(WATCH_S)


@loop.command("pause")
def pause(name: LoopArgument) -> None:
    """Pause a loop: nothing new starts and no rollout advances. Work in progress and serving continue."""
    _set_paused(name, paused=True)


@loop.command("resume")
def resume(name: LoopArgument) -> None:
    """Resume a paused loop."""
    _set_paused(name, paused=False)


def _set_paused(name: str, *, paused: bool) -> None:
    changed = call(lambda c: Loops(c).pause(name, paused=paused))
    verb = "paused" if paused else "resumed"
    parts = ", ".join(f"{kind} {part}" for kind, part in changed) or "nothing to change"
    show({"loop": name, "paused": paused, "changed": _named(changed)}, f"{verb}: {parts}")


def _named(parts: Any) -> list[dict[str, str]]:  # noqa: ANN401 - pairs
    return [{"kind": kind, "name": name} for kind, name in parts]


def _data(name: str, stages: list[Stage]) -> dict[str, object]:
    return {"loop": name, "stages": [stage.data() for stage in stages]}


def _picture(stages: list[Stage]) -> RenderableType:
    if not stages:
        return "This loop only answers: its file has no datasets, training, gates or rollouts."
    picture = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("stage", "name", "where it is", "since"):
        picture.add_column(column, overflow="fold")
    now = datetime.now(UTC)
    for stage in stages:
        style = _STYLES.get(stage.state, "")
        picture.add_row(stage.stage, Text(stage.name), Text(stage.says, style=style), Text(_since(stage, now)))
    return picture


def _since(stage: Stage, now: datetime) -> str:
    """Return the time of the last change, and its age."""
    if stage.since is None:
        return "-"
    seconds = max((now - stage.since).total_seconds(), 0)
    if seconds < MINUTE_S:
        ago = f"{seconds:.0f} s"
    elif seconds < HOUR_S:
        ago = f"{seconds / MINUTE_S:.0f} min"
    elif seconds < DAY_S:
        ago = f"{seconds / HOUR_S:.1f} h"
    else:
        ago = f"{seconds / DAY_S:.0f} d"
    local = stage.since.astimezone()
    shown = f"{local:%H:%M:%S}" if seconds < DAY_S else f"{local:%Y-%m-%d}"
    return f"{shown}, {ago}"
