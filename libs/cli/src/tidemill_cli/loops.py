"""init, diff and apply: declarative management of a loop."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from tidemill_cli.gates import power_lines
from tidemill_cli.loop import read_loop
from tidemill_cli.loop.changes import Action, Change
from tidemill_cli.loop.declaration import json_schema
from tidemill_cli.loop.plan import Planner
from tidemill_cli.options import without_project
from tidemill_cli.output import EXIT_DIFFERENT, chosen_project, progress, run, show, writing
from tidemill_client.connection import Connection
from tidemill_core.errors import AlreadyExists

FileOption = Annotated[Path, typer.Option("--file", "-f", help="The loop file.")]
PruneOption = Annotated[bool, typer.Option("--prune", help="Delete resources that are no longer in the file.")]

LINE = 80
"""Characters of a displayed value; longer ones are truncated."""

_SIGNS = {
    Action.CREATE: ("+", "green"),
    Action.UPDATE: ("~", "yellow"),
    Action.DELETE: ("-", "red"),
    Action.ORPHAN: ("?", "magenta"),
    Action.NONE: ("=", "dim"),
}
_STARTER = """\
# yaml-language-server: $schema=./loop.v1.schema.json
apiVersion: tidemill.dev/v1
kind: Loop
metadata: {name: my-loop}

models:
  smollm2: {source: "hf:HuggingFaceTB/SmolLM2-135M-Instruct"}    # or "file:FOLDER", relative to this file
  minilm: {source: "hf:sentence-transformers/all-MiniLM-L6-v2"}

sources:
  manual: {}

collections:
  handbook: {sources: [manual], embedding: minilm}

prompts:
  answer:
    system: "Answer in one or two sentences. Use only the passages that you are given."
    user: "{% for passage in passages %}[{{ passage.id }}] {{ passage.text }}\\n\\n{% endfor %}Question: {{ question }}"

deployments:
  helpdesk:
    model: smollm2
    prompt: answer
    retrieval: {collection: handbook, top_k: 2, min_score: 0.2}   # drops irrelevant passages
    sampling: {temperature: 0.0, max_output_tokens: 64}
"""


@without_project
def init(folder: Annotated[Path, typer.Argument(help="The target directory.")] = Path()) -> None:
    """Write a starter loop.yaml, and its JSON Schema for editors."""

    async def work() -> None:
        files = {"loop.yaml": _STARTER, "loop.v1.schema.json": json.dumps(json_schema(), indent=2) + "\n"}
        taken = [name for name in files if (folder / name).exists()]
        if taken:
            message = f"{folder / taken[0]} already exists: choose another folder or move the file"
            raise AlreadyExists(message)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                (folder / name).write_text(text, encoding="utf-8")
        written = [str(folder / name) for name in files]
        next_step = f"Wrote {', '.join(written)}. Next: tidemill apply -f {folder / 'loop.yaml'}"
        show({"written": written}, next_step)

    run(work())


def diff(file: FileOption = Path("loop.yaml"), *, prune: PruneOption = False) -> None:
    """Show what apply would change. Exit 0 if nothing, 2 if there are changes."""

    async def work() -> list[Change]:
        loop = read_loop(file)
        async with Connection(chosen_project()) as connection:
            return await Planner(connection, loop).diff(prune=prune)

    changes = run(work())
    show(_data(changes), _picture(changes, "would change"))
    if any(change.changes for change in changes):
        raise typer.Exit(EXIT_DIFFERENT)


def apply(
    file: FileOption = Path("loop.yaml"),
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Same as diff.")] = False,
    prune: PruneOption = False,
) -> None:
    """Create or update resources to match the file. Idempotent."""
    if dry_run:
        diff(file, prune=prune)
        return

    async def work() -> tuple[list[Change], Sequence[str]]:
        loop = read_loop(file)
        async with Connection(chosen_project()) as connection:
            with progress(counted=False) as bar:
                task = bar.add_task("reading", total=1.0)
                changes = await Planner(connection, loop).apply(
                    prune=prune, progress=lambda text, share: bar.update(task, description=text, completed=share)
                )
            stated = {Action.CREATE, Action.UPDATE}
            gates = [each.name for each in changes if each.kind == "gate" and each.action in stated]
            return changes, await power_lines(connection, gates)

    changes, power = run(work())
    show(
        {**_data(changes), "power": list(power)},
        Group(_picture(changes, "changed"), *(escape(line) for line in power)),
    )


def _data(changes: list[Change]) -> dict[str, object]:
    return {
        "changed": sum(change.changes for change in changes),
        "changes": [
            {
                "kind": change.kind,
                "name": change.name,
                "action": change.action,
                "note": change.note,
                "fields": {field: {"before": old, "after": new} for field, (old, new) in change.details.items()},
            }
            for change in changes
        ],
    }


def _picture(changes: list[Change], verb: str) -> RenderableType:
    lines: list[RenderableType] = []
    for change in changes:
        sign, style = _SIGNS[change.action]
        note = f"  ({change.note})" if change.note else ""
        lines.append(Text(f"{sign} {change.kind} {change.name}: {change.action}{note}", style=style))
        lines += [
            Text(f"    {field}: {_short(old)} -> {_short(new)}", style="dim")
            for field, (old, new) in change.details.items()
        ]
    count = sum(change.changes for change in changes)
    lines.append(escape(f"{count} of {len(changes)} {verb}" if count else "nothing to change"))
    return Group(*lines)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LINE else f"{text[: LINE - 3]}..."
