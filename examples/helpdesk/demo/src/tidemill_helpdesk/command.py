"""demo: an end-to-end run of the platform."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from tidemill_cli.options import options
from tidemill_cli.output import print_json, run, stdout
from tidemill_cli.stack import start
from tidemill_client.connection import Connection, remember_project
from tidemill_helpdesk.choices import Choices
from tidemill_helpdesk.data_profile import DataProfile, Profiled, counted
from tidemill_helpdesk.depth import Depth
from tidemill_helpdesk.endpoints import same_question_elsewhere
from tidemill_helpdesk.example import CorpusDocument, Example
from tidemill_helpdesk.helpdesk import COLLECTION, PUBLISHED, QUESTIONS, UPLOADED, Helpdesk
from tidemill_helpdesk.judging import Judging
from tidemill_helpdesk.machine import machine
from tidemill_helpdesk.memory import peak_memory
from tidemill_helpdesk.office import NAME, Office
from tidemill_helpdesk.report_html import write_html
from tidemill_helpdesk.safety import Safety
from tidemill_helpdesk.steps import Steps
from tidemill_helpdesk.tuned_retrieval import TunedRetrieval
from tidemill_helpdesk.turn import TAUGHT, TRUSTED_CASES, Turn

AnswersOnlyOption = Annotated[
    bool, typer.Option("--answers-only", help="Stop after documents and answers; takes about a third of the time.")
]
PoisonedOption = Annotated[
    bool, typer.Option("--poisoned", help="Shuffle the corrections among the questions: the gate refuses the model.")
]
DeepOption = Annotated[
    bool,
    typer.Option("--deep", help="Also search settings by a sweep and train by DPO on pairs: 20 to 35 minutes more."),
]
ContinueOption = Annotated[
    bool, typer.Option("--continue", help="Continue a failed or interrupted demo in the same project.")
]


def demo(
    *,
    answers_only: AnswersOnlyOption = False,
    poisoned: PoisonedOption = False,
    deep: DeepOption = False,
    is_continued: ContinueOption = False,
) -> None:
    """Run the whole loop in a new project: documents, answers, corrections, training, evaluation, rollout."""
    project, as_json = options().project, options().as_json
    modes = {"answers_only": answers_only, "poisoned": poisoned, "deep": deep}
    given = [f"--{mode.replace('_', '-')}" for mode, is_given in modes.items() if is_given]
    if len(given) > 1:
        message = f"{' and '.join(given)} are mutually exclusive: give one of them"
        raise typer.BadParameter(message)
    if is_continued and (project or given):
        message = "--continue uses the options that the demo was started with: omit the others"
        raise typer.BadParameter(message)
    if as_json:
        stdout.quiet = True
    kind = "poisoned" if poisoned else "deep" if deep else "demo"
    name = project or f"{kind}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    work = _continued() if is_continued else _started(name, answers_only=answers_only, poisoned=poisoned, deep=deep)
    steps = run(work)
    start()
    path = run(_demo(steps))
    if as_json:
        print_json(steps.report.data())
        return
    stdout.print()
    stdout.print(steps.report.picture())
    stdout.print(f"\nWritten to {path} and report.html beside it. Next steps, in project {steps.project}:\n")
    stdout.print(_next_steps(), markup=False, highlight=False)


async def _started(project: str, *, answers_only: bool, poisoned: bool, deep: bool) -> Steps:
    return Steps(file=_file(), project=project, answers_only=answers_only, poisoned=poisoned, deep=deep)


async def _continued() -> Steps:
    return Steps.unfinished(_file())


def _file() -> Path:
    return Example.find().local / "demo" / "unfinished.json"


async def _demo(steps: Steps) -> Path:
    example = Example.find(file=steps.loop)
    report = steps.report
    documents = await example.documents()
    trusted = example.trusted(documents, TRUSTED_CASES, taught=TAUGHT)
    example.write_trusted_cases(trusted)
    async with Connection(steps.project) as connection:
        helpdesk = Helpdesk(
            connection=connection, example=example, report=report, documents=documents, facts=steps.facts
        )
        report.add("machine", **machine())
        steps.announce(len(trusted))
        await steps.run("apply", lambda: helpdesk.apply(is_continued=steps.is_continued), again=steps.is_continued)
        remember_project(steps.project)
        title = "[bold]1. Documents[/]: Python's own documentation, half by gRPC, half as CloudEvents"
        await steps.run("documents", helpdesk.feed, title=title)
        model = example.local / "models" / "all-MiniLM-L6-v2"
        await steps.run("retrieval", lambda: helpdesk.retrieve(model))
        await _files(steps, helpdesk)
        await steps.run("answers", helpdesk.answer, title="[bold]3. Answers[/]: streamed, each with its sources")
        await steps.run("other_clients", lambda: same_question_elsewhere(helpdesk, steps.facts["asked_elsewhere"]))
        pictures: dict[str, Any] = {}
        if not steps.answers_only:
            pictures = await _turn(steps, connection, example, documents)
        report.add("peak_rss_mb", **peak_memory(example.local))
        write_html(report.data() | {"pictures": pictures}, example.local / "demo" / "report.html")
        path = report.write(example.local / "demo")
    steps.finish()
    return path


async def _files(steps: Steps, helpdesk: Helpdesk) -> None:
    """Add a folder of files of many kinds, ask for what is in them, profile what came in, and tune the retrieval."""
    connection, report = helpdesk.connection, steps.report
    office = Office(connection=connection, example=Example.find("office"), report=report, facts=steps.facts)
    title = (
        "[bold]2. Files[/]: a folder of PDF, Word, Excel and PowerPoint, a mail and an archive; then what came in, "
        "and retrieval tuned"
    )
    await steps.run("office", office.add, title=title)
    await steps.run("office_answers", office.ask)
    sources = [
        Profiled(source=UPLOADED, documents=len(helpdesk.documents[::2]), collection=COLLECTION),
        Profiled(source=PUBLISHED, documents=len(helpdesk.documents[1::2]), collection=COLLECTION),
        Profiled(source=NAME, documents=counted(steps.facts[NAME]["documents"])),
    ]
    folder = helpdesk.example.local / "demo" / "profiles"
    profile = DataProfile(connection=connection, report=report, folder=folder, sources=sources)
    await steps.run("profile", profile)
    asked = helpdesk.example.corpus().questions(list(helpdesk.documents), QUESTIONS)
    tuned = TunedRetrieval(connection=connection, report=report, asked=asked, ids=helpdesk.ids)
    await steps.run("tuned_retrieval", tuned)


async def _turn(
    steps: Steps, connection: Connection, example: Example, documents: list[CorpusDocument]
) -> dict[str, Any]:
    shared: dict[str, Any] = {"connection": connection, "example": example, "report": steps.report}
    turn = Turn(**shared, documents=documents, facts=steps.facts, poisoned=steps.poisoned)
    judging = Judging(**shared)
    choices = Choices(turn=turn)
    depth = Depth(turn=turn) if steps.deep else None
    if depth:
        await steps.run("hold", depth.hold)
    await steps.run("questions", turn.questions, title="[bold]4. Feedback[/]: simulated users ask 200 questions")
    title = "   some ask a second time, and choose between two answers"
    await steps.run("choices", choices.choose, title=title)
    title = "   others correct answers, and press thumbs; from here on the loop runs unattended"
    await steps.run("reactions", turn.triggers, title=title)
    title = "[bold]5. Datasets[/]: the curation rules publish versions, of corrections, choices and thumbs"
    await steps.run("examples", turn.examples, title=title)
    await steps.run("choices_and_thumbs", choices.examples)
    if depth:
        await steps.run("pairs", depth.pairs)
        title = "[bold]6. Training[/]: a sweep over the settings in place of one run, then LoRA with the best of them"
        await steps.run("sweep", lambda: depth.search(retry=steps.is_continued), title=title, again=True)
    title = "" if depth else "[bold]6. Training[/]: LoRA on the base model, in a separate process"
    run_ = await steps.run("training", lambda: turn.train(retry=steps.is_continued), title=title, again=True)
    assert run_ is not None  # noqa: S101 - `again` always runs the step
    title = "[bold]7. Evaluation[/]: the candidate against the live model, on the same passages"
    evaluation = await steps.run(
        "evaluation",
        lambda: judging.evaluate(run_.model_version, retry=steps.is_continued),
        title=title,
        again=True,
    )
    assert evaluation is not None  # noqa: S101 - the same
    await steps.run("safety", lambda: Safety(connection=connection, report=steps.report)(evaluation))
    title = "[bold]8. Rollout[/]: shadow, canary and promotion on live questions"
    await steps.run("rollout", lambda: turn.finish(evaluation), title=title)
    title = "[bold]9. After[/]: the same questions again, and the lineage of the model"
    await steps.run("after", turn.after, title=title)
    await steps.run("apply_again", turn.apply_again)
    await steps.run("lineage", lambda: turn.lineage(run_.model_version))
    pictures = await turn.pictures(run_.model_version)
    scores = judging.scores()
    if depth:
        await _depth(steps, depth)
        pictures |= depth.pictures()
        scores += depth.scores()
    return pictures | {"scores": scores}


async def _depth(steps: Steps, depth: Depth) -> None:
    """Train by DPO on the pairs, where there are any, and let its gate compare it with what is live by now."""
    await steps.run("met_the_gate", depth.met_the_gate, again=True)
    if not depth.has_pairs:
        return  # step pairs has said why
    title = "[bold]10. In depth[/]: DPO on the pairs of the same corrections and choices, against the live model"
    run_ = await steps.run("preferred_training", lambda: depth.train(retry=steps.is_continued), title=title, again=True)
    assert run_ is not None  # noqa: S101 - `again` always runs the step
    await steps.run(
        "preferred_evaluation", lambda: depth.judge(run_.model_version, retry=steps.is_continued), again=True
    )


def _next_steps() -> str:
    return """\
    tidemill ask "What does shutil.copytree do in Python?"
    tidemill documents add ./docs --recursive
    tidemill loop status helpdesk       tidemill rollouts list       tidemill evaluations list
    tidemill inferences list            tidemill status
    OpenAI-compatible endpoint: `tidemill status` shows its address
"""
