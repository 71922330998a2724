"""judges: models that score answers by a rubric."""

from typing import Annotated

import typer

from tidemill.evaluator.v1.judge_pb2 import Judge, JudgeInput, JudgeMeasurementState, JudgeMode
from tidemill.evaluator.v1.judge_service_pb2 import ListJudgesRequest
from tidemill_cli.options import Commands
from tidemill_cli.output import EXIT_ERROR, call, card, plain, progress, show, word
from tidemill_cli.pages import lists
from tidemill_client.connection import Connection
from tidemill_client.judge_templates import TEMPLATES
from tidemill_client.judges import Judges

judges = Commands(help="Models that judge answers by a rubric, for evaluations and gates.")

JudgeArgument = Annotated[str, typer.Argument(help="The judge.")]


@lists(
    judges,
    "list",
    lambda c: c.judges.ListJudges,
    ("judge", "version", "deployment", "mode", "agreement"),
    lambda j: (j.id, j.version, j.deployment or ", ".join(j.members), word(JudgeMode, j.mode), _agreement(j)),
)
def list_judges() -> ListJudgesRequest:
    """List the project's judges."""
    return ListJudgesRequest()


@judges.command("show")
def show_judge(name: JudgeArgument) -> None:
    """Show a judge with its rubric."""
    judge = call(lambda c: Judges(c).get(name))
    show(plain(judge), card(_facts(judge)))


@judges.command("add")
def add_judge(
    name: JudgeArgument,
    *,
    deployment: Annotated[
        str, typer.Option("--deployment", "-d", help="What judges: its prompt is the question alone; no retrieval.")
    ],
    template: Annotated[str, typer.Option("--template", "-t", help=f"What it judges by: {', '.join(TEMPLATES)}.")],
    may_judge_itself: Annotated[bool, typer.Option(help="Let it judge answers of its own model.")] = False,
) -> None:
    """Add a judge by a ready rubric: those of RAGAS, of answers by passages. Others are written in loop.yaml."""
    known = TEMPLATES.get(template)
    if known is None:
        message = f"{template!r} is not a template: use one of {', '.join(TEMPLATES)}"
        raise typer.BadParameter(message, param_hint="--template")
    asked = known.judge(name, deployment)
    asked.may_judge_itself = may_judge_itself
    judge = call(lambda c: Judges(c).create(asked))
    show(plain(judge), card(_facts(judge)))


@judges.command("measure")
def measure_judge(
    name: JudgeArgument,
    *,
    queue: Annotated[str, typer.Option("--queue", "-q", help="The review queue whose resolved answers are judged.")],
    field: Annotated[str, typer.Option("--field", "-f", help="Its field: a boolean, or a number with min and max.")],
    wait: Annotated[bool, typer.Option(help="Wait for the result.")] = True,
) -> None:
    """Measure how far a judge agrees with people, so that it may decide in gates. Exit 1 if that fails."""

    async def work(connection: Connection) -> Judge:
        asked = Judges(connection)
        begun = await asked.measure(name, queue=queue, field=field)
        return await _followed(asked, name) if wait else begun

    judge = call(work)
    show(plain(judge), card(_facts(judge)))
    if judge.measurement.state == JudgeMeasurementState.JUDGE_MEASUREMENT_STATE_FAILED:
        raise typer.Exit(EXIT_ERROR)


async def _followed(judges: Judges, name: str) -> Judge:
    with progress() as bar:
        task = bar.add_task("judging", total=None)

        def watch(judge: Judge) -> None:
            found = judge.measurement
            bar.update(task, completed=found.judged, total=found.items or None, description=found.message or "judging")

        return await judges.measured(name, watch=watch)


def _agreement(judge: Judge) -> str:
    found = judge.agreement
    if not found.items:
        return "not measured"
    stated = f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}] of {found.items}"
    earlier = not found.version.startswith(f"{judge.id}@{judge.version}-")
    return f"an earlier version: {stated}" if earlier else stated


def _drift(judge: Judge) -> str:
    found = judge.drift
    if not found.checked:
        return ""
    state = "drifted: measure it again" if found.drifted else "none"
    return f"{state} ({found.repeated_scores} of {found.checked} judgements repeated)"


def _measurement(judge: Judge) -> str:
    found = judge.measurement
    if not found.queue:
        return ""
    state = word(JudgeMeasurementState, found.state)
    return f"{state}, {found.queue}.{found.field}" + (f": {found.message}" if found.message else "")


def _facts(judge: Judge) -> dict[str, object]:
    criteria = [f"{each.name} (1 to {each.scale or 5})" for each in judge.criteria]
    facts: dict[str, object] = {
        "judge": f"{judge.id}, version {judge.version}",
        "metric": f"judge:{judge.id}",
        "deployment": judge.deployment,
        "members": ", ".join(judge.members),
        "drift": _drift(judge),
        "mode": word(JudgeMode, judge.mode),
        "rubric": judge.rubric,
        "criteria": ", ".join(criteria),
        "reads": ", ".join(word(JudgeInput, each) for each in judge.reads),
        "agreement with people": f"{_agreement(judge)} answers, by {judge.agreement.measure.replace('_', ' ')}"
        if judge.agreement.items
        else "not measured: it decides in no gate",
        "needs": f"{judge.min_agreement or 0.4:g} or more, as the lower bound",
        "last measurement": _measurement(judge),
        "may judge itself": "yes" if judge.may_judge_itself else "",
    }
    return {key: value for key, value in facts.items() if value}
