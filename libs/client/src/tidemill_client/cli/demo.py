"""demo: the platform's main job before your eyes."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from tidemill_client.cli.output import JsonOption, ProjectOption, print_json, run, stdout
from tidemill_client.cli.stack import start
from tidemill_client.connection import Connection, remember_project
from tidemill_client.demo.doors import same_question_elsewhere
from tidemill_client.demo.example import Example
from tidemill_client.demo.helpdesk import Helpdesk
from tidemill_client.demo.judging import Judging
from tidemill_client.demo.memory import peak_memory
from tidemill_client.demo.report import Report
from tidemill_client.demo.report_html import write_html
from tidemill_client.demo.turn import TAUGHT, TRUSTED_CASES, Turn

AnswersOnlyOption = Annotated[
    bool, typer.Option("--answers-only", help="Stop after documents and answers: four minutes instead of twelve.")
]
PoisonedOption = Annotated[
    bool, typer.Option("--poisoned", help="Shuffle the corrections among the questions: the gate refuses the model.")
]


def demo(
    *,
    project: ProjectOption = "",
    answers_only: AnswersOnlyOption = False,
    poisoned: PoisonedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the whole turn in a project of its own: documents, answers, corrections, a candidate, its verdict."""
    if answers_only and poisoned:
        message = "--poisoned is about corrections, and --answers-only stops before them: take one of them"
        raise typer.BadParameter(message)
    if as_json:
        stdout.quiet = True
    name = project or f"{'poisoned' if poisoned else 'demo'}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    start(quiet=as_json)
    report = Report(name)
    path = run(_demo(name, report, turned=not answers_only, poisoned=poisoned), as_json=as_json)
    if as_json:
        print_json(report.data())
        return
    stdout.print()
    stdout.print(report.picture())
    stdout.print(f"\nWritten to {path} and report.html beside it. What to type next, in project {name}:\n")
    stdout.print(_next_steps(), markup=False, highlight=False)


async def _demo(project: str, report: Report, *, turned: bool, poisoned: bool) -> Path:
    example = Example.find()
    local = example.folder.parents[1] / ".tidemill"
    documents = await example.documents()
    trusted = example.trusted(documents, TRUSTED_CASES, taught=TAUGHT)
    example.write_trusted_cases(trusted)
    async with Connection(project) as connection:
        helpdesk = Helpdesk(connection=connection, example=example, report=report, documents=documents)
        stdout.print(
            f"[bold]Project {project}[/]: examples/helpdesk/loop.yaml is applied, twice ({len(trusted)} trusted cases)"
        )
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
        pictures: dict[str, Any] = {}
        if turned:
            turn = Turn(connection=connection, example=example, report=report, documents=documents, poisoned=poisoned)
            pictures = await _turn(turn, Judging(connection=connection, example=example, report=report), report)
        report.add("peak_rss_mb", **peak_memory(local))
        write_html(report.data() | {"pictures": pictures}, local / "demo" / "report.html")
        return report.write(local / "demo")


async def _turn(turn: Turn, judging: Judging, report: Report) -> dict[str, Any]:
    stdout.print("[bold]3. Reactions[/]: simulated users correct answers; from here nobody touches anything")
    with report.step("reactions"):
        await turn.react()
    stdout.print("[bold]4. Examples[/]: the curation rule fires by itself")
    with report.step("examples"):
        await turn.examples()
    stdout.print("[bold]5. Training[/]: LoRA on the base model, in a process of its own")
    with report.step("training"):
        run_ = await turn.train()
    stdout.print("[bold]6. Evaluation[/]: the candidate against what is live, on the same passages")
    with report.step("evaluation"):
        evaluation = await judging.evaluate(run_.model_version)
    stdout.print("[bold]7. Rollout[/]: shadow, canary, promoted, on live questions")
    with report.step("rollout"):
        await turn.finish(evaluation)
    stdout.print("[bold]8. After[/]: the same questions, and where the answers come from")
    with report.step("after"):
        await turn.after()
        await turn.apply_again()
    with report.step("lineage"):
        await turn.lineage(run_.model_version)
    return await turn.pictures(run_.model_version) | {"scores": judging.scores()}


def _next_steps() -> str:
    return """\
    tidemill ask "What does shutil.copytree do in Python?"
    tidemill documents add ./docs --recursive
    tidemill loop status helpdesk       tidemill rollouts list       tidemill evaluations list
    tidemill inferences list            tidemill status
    the OpenAI-compatible door: see `tidemill status` for its address
"""


COMMANDS = (demo,)
