"""evaluations harness: public harnesses run against a deployment, recorded and compared."""

import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.markup import escape

from tidemill.evaluator.v1.harness_run_pb2 import HarnessRun, HarnessRunState, HarnessTool
from tidemill.evaluator.v1.harness_run_service_pb2 import CompareHarnessRunsResponse, ListHarnessRunsRequest
from tidemill.evaluator.v1.suite_pb2 import Suite
from tidemill.inference.v1.rollout_pb2 import RolloutState
from tidemill_cli.harnesses.environments import python_of
from tidemill_cli.harnesses.garak import PROBES, Garak
from tidemill_cli.harnesses.harness import Found, Harness, HarnessFailed, Target
from tidemill_cli.harnesses.lm_eval import LmEval
from tidemill_cli.harnesses.running import run_harness, version_of
from tidemill_cli.options import Commands
from tidemill_cli.output import EXIT_ERROR, call, card, moment, plain, progress, show, stderr, table, word
from tidemill_cli.pages import lists
from tidemill_client.connection import Connection
from tidemill_client.declared import Deployments, Suites
from tidemill_client.harness_runs import HarnessRuns
from tidemill_client.openai_endpoint import openai_endpoint
from tidemill_core.errors import InvalidInput, PreconditionFailed

harness = Commands(help="Public harnesses (garak, lm-evaluation-harness) run against a deployment, and recorded.")

DeploymentArgument = Annotated[str, typer.Argument(help="The deployment that answers.")]
RunArgument = Annotated[str, typer.Argument(help="The run's id (see `tidemill evaluations harness list`).")]
LimitOption = Annotated[
    float, typer.Option("--time-limit", min=1, max=86400, help="Seconds until the harness is ended, without scores.")
]
EnvironmentOption = Annotated[
    Path | None,
    typer.Option(
        "--environment", help="A virtual environment that has the harness; default: one of its own, installed."
    ),
]
KeepOption = Annotated[
    Path | None, typer.Option("--keep", help="A new folder for what the harness writes, with its log; default: none.")
]
OnlineOption = Annotated[
    bool, typer.Option("--online", help="Let the harness fetch data and models from Hugging Face.")
]
ConcurrencyOption = Annotated[int, typer.Option("--concurrency", min=1, max=64, help="Questions at the same time.")]
TIME_LIMIT_S = 1800.0
_TOOLS = {HarnessTool.HARNESS_TOOL_GARAK: "garak", HarnessTool.HARNESS_TOOL_LM_EVAL: "lm-eval"}
_ROLLING = (RolloutState.ROLLOUT_STATE_SHADOW, RolloutState.ROLLOUT_STATE_CANARY, RolloutState.ROLLOUT_STATE_HELD)


@harness.command("garak")
def run_garak(
    deployment: DeploymentArgument,
    *,
    probe: Annotated[
        list[str] | None, typer.Option("--probe", help=f"A probe; repeatable. Default: {', '.join(PROBES)}.")
    ] = None,
    max_prompts: Annotated[
        int, typer.Option("--max-prompts", min=1, max=10000, help="Of each probe, where the probe can be cut.")
    ] = 12,
    concurrency: ConcurrencyOption = 4,
    time_limit: LimitOption = TIME_LIMIT_S,
    environment: EnvironmentOption = None,
    keep: KeepOption = None,
    online: OnlineOption = False,
) -> None:
    """Attack a deployment by garak's probes, and record how many had no effect. Exit 1 if there are no scores."""
    asked = Garak(tests=tuple(dict.fromkeys(probe or PROBES)), max_prompts=max_prompts, concurrency=concurrency)
    _run(asked, deployment, time_limit_s=time_limit, environment=environment, keep=keep, online=online)


@harness.command("lm-eval")
def run_lm_eval(
    deployment: DeploymentArgument,
    *,
    suite: Annotated[
        list[str] | None, typer.Option("--suite", "-s", help="A suite of the project, asked as a task; repeatable.")
    ] = None,
    task: Annotated[list[str] | None, typer.Option("--task", help="A task of the harness; repeatable.")] = None,
    tasks_folder: Annotated[
        Path | None,
        typer.Option("--tasks-folder", exists=True, file_okay=False, help="A folder with tasks of your own."),
    ] = None,
    max_cases: Annotated[int, typer.Option("--max-cases", min=0, help="Of each task; 0 asks all.")] = 0,
    concurrency: ConcurrencyOption = 4,
    time_limit: LimitOption = TIME_LIMIT_S,
    environment: EnvironmentOption = None,
    keep: KeepOption = None,
    online: OnlineOption = False,
) -> None:
    """Run tasks of lm-evaluation-harness, or suites as tasks, and record the scores. Exit 1 if there are none."""
    if not suite and not task:
        message = "name a suite of the project with --suite, or a task of the harness with --task"
        raise typer.BadParameter(message, param_hint="--suite")

    async def read(connection: Connection) -> Sequence[Suite]:
        return [await Suites(connection).get(name) for name in dict.fromkeys(suite or ())]

    asked = LmEval(
        suites=call(read) if suite else (),
        tasks=tuple(dict.fromkeys(task or ())),
        tasks_folder=tasks_folder,
        max_cases=max_cases,
        concurrency=concurrency,
    )
    _run(asked, deployment, time_limit_s=time_limit, environment=environment, keep=keep, online=online)


@lists(
    harness,
    "list",
    lambda c: c.harness_runs.ListHarnessRuns,
    ("run", "harness", "version", "deployment", "model", "ended", "passed"),
    lambda r: (r.id, _TOOLS.get(r.tool, ""), r.tool_version, r.deployment, r.model, moment(r.end_time), _passed(r)),
)
def list_runs(
    *, deployment: Annotated[str, typer.Option("--deployment", "-d", help="Only of this deployment.")] = ""
) -> ListHarnessRunsRequest:
    """List recorded runs, oldest first."""
    return ListHarnessRunsRequest(filter=f'deployment = "{deployment}"' if deployment else "")


@harness.command("show")
def show_run(name: RunArgument) -> None:
    """Show a run with its scores."""
    run = call(lambda c: HarnessRuns(c).get(name))
    show(plain(run), _picture(run))


@harness.command("compare")
def compare_runs(
    baseline: Annotated[str, typer.Argument(help="The run to compare with.")],
    candidate: Annotated[str, typer.Argument(help="The run that is compared.")],
) -> None:
    """Compare the scores that two runs have in common. All intervals hold at once."""
    found = call(lambda c: HarnessRuns(c).compare(baseline, candidate))
    show(plain(found), _compared(found))


@harness.command("report")
def save_report(
    name: RunArgument, file: Annotated[Path, typer.Argument(help="Where to write it, a JSON line for each entry.")]
) -> None:
    """Save the report that a harness wrote, with its prompts and the answers. Not overwritten."""
    report = call(lambda c: HarnessRuns(c).report(name))
    try:
        with file.open("xb") as opened:
            opened.write(report)
    except OSError as error:
        message = f"cannot be written ({error.strerror or error}): name a file that does not exist yet"
        raise typer.BadParameter(message, param_hint="FILE") from error
    show({"file": str(file), "bytes": len(report)}, card({"file": file, "bytes": len(report)}))


def _run(
    asked: Harness, deployment: str, *, time_limit_s: float, environment: Path | None, keep: Path | None, online: bool
) -> None:
    """Run a harness in this thread, since the child ends with the thread that starts it, and record it."""
    target, configuration = call(lambda c: _target(c, deployment))
    recorded = HarnessRun(tool=asked.tool, deployment=deployment, configuration=configuration, tests=asked.tests)
    report = b""
    with _folder(keep) as folder:
        recorded.start_time.GetCurrentTime()
        try:
            python = python_of(asked, environment, say=stderr.print)
            recorded.tool_version = version_of(asked, python)
            recorded.start_time.GetCurrentTime()  # without what was installed
            found = _watched(asked, python, folder, target, time_limit_s=time_limit_s, online=online)
            recorded.scores.extend(found.scores)
            report = found.report
        except HarnessFailed as failed:
            recorded.reason, recorded.message = failed.reason, failed.message
        recorded.end_time.GetCurrentTime()
    try:
        run = call(lambda c: _recorded(c, recorded, report))
    except typer.Exit:  # what it found is shown at least
        stderr.print(f"the run is not recorded; it has {len(recorded.scores)} scores", highlight=False)
        for each in recorded.scores:
            said = f"{each.test} {each.metric}: {each.passed} of {each.total}"
            stderr.print(escape(said), highlight=False, soft_wrap=True)
        raise
    show(plain(run), _picture(run))
    if run.state != HarnessRunState.HARNESS_RUN_STATE_COMPLETED:
        raise typer.Exit(EXIT_ERROR)


def _watched(asked: Harness, python: Path, folder: Path, target: Target, *, time_limit_s: float, online: bool) -> Found:
    with progress(counted=False) as bar:
        bar.add_task(f"{asked.name} asks {target.deployment}", total=None)
        return run_harness(asked, python, folder, target, time_limit_s=time_limit_s, online=online)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Make the folder that a harness writes into; removed at the end unless it is to be kept."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="tidemill-harness-") as made:
            yield Path(made)
        return
    try:
        keep.mkdir(mode=0o700, parents=True)
    except OSError as error:
        message = f"cannot be made ({error.strerror or error}): name a folder that does not exist yet"
        raise typer.BadParameter(message, param_hint="--keep") from error
    yield keep


async def _target(connection: Connection, deployment: str) -> tuple[Target, str]:
    """Return whom to ask, and the digest of what is live.

    Raises:
        PreconditionFailed: a rollout is under way, so that a candidate may answer too.
        NoAddress: the address of the OpenAI API is not known.

    """
    found = await Deployments(connection).get(deployment)
    if found.rollout.state in _ROLLING:
        message = f"a rollout of {deployment} is under way, and a candidate may answer too: run it when that has ended"
        raise PreconditionFailed(message)
    endpoint = openai_endpoint(connection)
    return Target(deployment=deployment, base_url=endpoint.base_url, token=endpoint.token), found.live.digest


async def _recorded(connection: Connection, run: HarnessRun, report: bytes) -> HarnessRun:
    """Record a run; without its report where the evaluator takes none of that size."""
    runs = HarnessRuns(connection)
    try:
        stored = await runs.record(run, report, request_id=str(uuid.uuid4()))
    except InvalidInput as error:
        if not report or {each.field for each in error.violations} != {"report"}:
            raise
        stderr.print(f"the report is not stored: {error.message}")
        return await runs.record(run, request_id=str(uuid.uuid4()))
    if report and not stored.report_bytes:
        stderr.print(
            "the report is not stored: the deployment changed meanwhile, so whose passages it has is not known"
        )
    return stored


def _passed(run: HarnessRun) -> str:
    if run.state != HarnessRunState.HARNESS_RUN_STATE_COMPLETED:
        return run.reason
    return f"{sum(each.passed for each in run.scores)} of {sum(each.total for each in run.scores)}"


def _picture(run: HarnessRun) -> RenderableType:
    facts = {
        "run": run.id,
        "harness": f"{_TOOLS.get(run.tool, '')} {run.tool_version}".strip(),
        "state": word(HarnessRunState, run.state),
        "why": " ".join(part for part in (run.reason, run.message) if part),
        "deployment": run.deployment,
        "configuration": run.configuration,
        "model": run.model,
        "took": f"{run.end_time.ToSeconds() - run.start_time.ToSeconds()} s, ended {moment(run.end_time)}",
        "report": f"{run.report_bytes} bytes, compressed" if run.report_bytes else "",
    }
    rows = [
        (
            each.test,
            each.metric,
            f"{each.passed} of {each.total}",
            f"{each.rate:.3f}",
            f"[{each.low:.3f}, {each.high:.3f}]",
        )
        for each in run.scores
    ]
    scores: list[RenderableType] = (
        ["", table(("test", "metric", "passed", "rate", f"{run.confidence:.0%} interval"), rows)] if rows else []
    )
    return Group(card({name: value for name, value in facts.items() if value}), *scores)


def _compared(found: CompareHarnessRunsResponse) -> RenderableType:
    rows = [
        (
            each.test,
            each.metric,
            f"{each.baseline.passed} of {each.baseline.total}",
            f"{each.candidate.passed} of {each.candidate.total}",
            f"{each.difference:+.3f}",
            f"[{each.low:+.3f}, {each.high:+.3f}]",
            "better" if each.low > 0 else "worse" if each.high < 0 else "",
        )
        for each in found.comparisons
    ]
    columns = (
        "test",
        "metric",
        "baseline",
        "candidate",
        "difference",
        f"{found.confidence:.0%} interval, all at once",
        "",
    )
    left_out = f"{found.unmatched} scores of only one run are left out" if found.unmatched else ""
    return Group(table(columns, rows), *(["", left_out] if left_out else []))
