"""demo: the platform's main job before your eyes."""

from datetime import UTC, datetime
from pathlib import Path

from tidemill_client.cli.output import JsonOption, ProjectOption, print_json, run, stdout
from tidemill_client.cli.stack import start
from tidemill_client.connection import Connection, remember_project
from tidemill_client.demo.doors import same_question_elsewhere
from tidemill_client.demo.example import Example
from tidemill_client.demo.helpdesk import Helpdesk
from tidemill_client.demo.memory import peak_memory
from tidemill_client.demo.report import Report


def demo(*, project: ProjectOption = "", as_json: JsonOption = False) -> None:
    """Show documents going in and grounded answers coming out, in a project of its own that stays browsable."""
    if as_json:
        stdout.quiet = True
    name = project or f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    start(quiet=as_json)
    report = Report(name)
    path = run(_demo(name, report), as_json=as_json)
    if as_json:
        print_json(report.data())
        return
    stdout.print()
    stdout.print(report.picture())
    stdout.print(f"\nWritten to {path}. What to type next, in project {name}:\n")
    stdout.print(_next_steps(), markup=False, highlight=False)


async def _demo(project: str, report: Report) -> Path:
    example = Example.find()
    local = example.folder.parents[1] / ".tidemill"
    async with Connection(project) as connection:
        helpdesk = Helpdesk(connection=connection, example=example, report=report)
        stdout.print(f"[bold]Project {project}[/]: examples/helpdesk/loop.yaml is applied, twice")
        with report.step("apply"):
            await helpdesk.apply()
        remember_project(project)
        stdout.print("[bold]1. Documents[/]: Python's own documentation, half by gRPC, half as CloudEvents")
        with report.step("documents"):
            await helpdesk.feed()
        with report.step("retrieval"):
            await helpdesk.retrieve(local / "models" / "all-MiniLM-L6-v2")
        stdout.print("[bold]2. Answers[/]: streamed, each with its sources")
        with report.step("answers"):
            await helpdesk.answer()
        with report.step("other_doors"):
            await same_question_elsewhere(helpdesk, helpdesk.asked_elsewhere)
        report.add("peak_rss_mb", **peak_memory(local))
        return report.write(local / "demo")


def _next_steps() -> str:
    return """\
    tidemill ask "What does shutil.copytree do in Python?"
    tidemill documents add ./docs --recursive
    tidemill documents list        tidemill inferences list        tidemill status
    the OpenAI-compatible door: see `tidemill status` for its address
"""


COMMANDS = (demo,)
