"""evaluations and evaluate: candidate models compared with a baseline."""

from math import floor, log10
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.markup import escape

from tidemill.evaluator.v1.evaluation_pb2 import (
    CaseAnswer,
    CaseResult,
    Comparison,
    Evaluation,
    EvaluationState,
    SliceComparison,
    Verdict,
)
from tidemill.evaluator.v1.evaluation_service_pb2 import ListCaseResultsRequest, ListEvaluationsRequest
from tidemill_cli.harness_runs import harness
from tidemill_cli.loop.stages import EXPOSURE, WEIGHTS_BYTES, unanswered, verdict_of
from tidemill_cli.options import Commands
from tidemill_cli.output import (
    EXIT_ERROR,
    call,
    card,
    moment,
    plain,
    progress,
    show,
    table,
    word,
)
from tidemill_cli.pages import SizeOption, TokenOption, lists, show_page
from tidemill_client.connection import Connection
from tidemill_client.evaluations import Evaluations

evaluations = Commands(help="Comparisons of a candidate with the baseline.")
evaluations.add_typer(harness, name="harness")

EvaluationArgument = Annotated[str, typer.Argument(help="The evaluation's id (see `tidemill evaluations list`).")]
CandidateOption = Annotated[str, typer.Option("--candidate", help="model@version.", show_default=False)]


@lists(
    evaluations,
    "list",
    lambda c: c.evaluations.ListEvaluations,
    ("evaluation", "gate", "candidate", "baseline", "state", "cases", "verdict"),
    lambda e: (
        e.id,
        e.gate or "by hand",
        e.candidate,
        f"{e.reevaluates} (again)" if e.reevaluates else e.baseline,
        word(EvaluationState, e.state),
        f"{e.answered}/{e.cases}",
        verdict_of(e) if not e.reason else e.reason,
    ),
)
def list_evaluations(
    *,
    gate: Annotated[str, typer.Option(help="Only of this gate.")] = "",
    candidate: Annotated[str, typer.Option(help="Only of this model@version.")] = "",
) -> ListEvaluationsRequest:
    """List evaluations, oldest first."""
    return ListEvaluationsRequest(gate=gate, candidate=candidate)


@evaluations.command("show")
def show_evaluation(name: EvaluationArgument) -> None:
    """Show an evaluation's verdict and comparisons."""
    evaluation = call(lambda c: Evaluations(c).get(name))
    show(plain(evaluation), _picture(evaluation))


@evaluations.command("cases")
def list_cases(
    name: EvaluationArgument,
    *,
    case_set: Annotated[str, typer.Option(help="Only of this case set, as named by `evaluations show`.")] = "",
    metric: Annotated[
        str, typer.Option(help="Sort by the gain in this metric; without, by the first that the gate requires.")
    ] = "",
    size: SizeOption = 20,
    token: TokenOption = "",
) -> None:
    """List cases, largest regression first, one line each. --json includes the full texts."""
    request = ListCaseResultsRequest(
        evaluation=name, case_set=case_set, metric=metric, page_size=size, page_token=token
    )
    page = call(lambda c: c.evaluations.ListCaseResults(request))
    columns = (f"change of {page.metric}", "case", "question", "reference", "baseline", "candidate")
    picture = table(columns, [_case(result, page.metric) for result in page.results], one_line=True)
    show_page("results", page.results, page.next_page_token, picture)


def _case(result: CaseResult, metric: str) -> tuple[str, ...]:
    baseline, candidate = result.baseline, result.candidate
    failed = baseline.failure or candidate.failure or not all(metric in side.scores for side in (baseline, candidate))
    change = "-" if failed else f"{candidate.scores[metric] - baseline.scores[metric]:+.3f}"
    texts = (result.question, result.reference, _answer(baseline, metric), _answer(candidate, metric))
    shown = (" ".join(text.split()) or ("(restricted)" if result.restricted else "") for text in texts)
    return (change, result.case, *shown)


def _answer(answer: CaseAnswer, metric: str) -> str:
    if answer.failure:
        return f"no answer: {answer.failure}"
    score = f"{answer.scores[metric]:.3f}" if metric in answer.scores else "-"
    return f"{score}  {answer.text}"


@evaluations.command("start")
def start(
    candidate: Annotated[str, typer.Argument(help="model@version.", show_default=False)] = "",
    *,
    gate: Annotated[str, typer.Option(help="The gate.")],
    named: Annotated[str, typer.Option("--candidate", hidden=True)] = "",
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the verdict; exit 1 unless it passed.")] = False,
) -> None:
    """Start an evaluation of a candidate by a gate."""
    if bool(candidate) == bool(named):
        message = "give exactly one candidate as model@version (see `tidemill evaluations list`)"
        raise typer.BadParameter(message, param_hint="CANDIDATE")

    async def work(connection: Connection) -> Evaluation:
        asked = Evaluations(connection)
        started = await asked.start(gate, candidate or named)
        return await _followed(asked, started) if wait else started

    evaluation = call(work)
    show(plain(evaluation), _picture(evaluation))
    if wait and evaluation.verdict != Verdict.VERDICT_PASSED:
        raise typer.Exit(EXIT_ERROR)


@evaluations.command("cancel")
def cancel(name: EvaluationArgument) -> None:
    """Cancel an evaluation. It gets no verdict."""
    evaluation = call(lambda c: Evaluations(c).cancel(name))
    show(plain(evaluation), _picture(evaluation))


def evaluate(
    *,
    suite: Annotated[list[str], typer.Option("--suite", "-s", help="A suite; repeatable.")],
    candidate: CandidateOption = "",
    prompt: Annotated[
        str, typer.Option("--prompt", help="prompt@version in place of --candidate: compared with the live one.")
    ] = "",
    baseline: Annotated[str, typer.Option("--baseline", help="model@version; default: the live model.")] = "",
    deployment: Annotated[
        str, typer.Option("--deployment", "-d", help="The deployment that provides prompt, retrieval and sampling.")
    ] = ("helpdesk"),
    metric: Annotated[
        list[str] | None, typer.Option("--metric", "-m", help="A metric beside the usual ones; repeatable.")
    ] = None,
) -> None:
    """Compare two versions of a model, or of a prompt, on suites of trusted cases, and wait. Exit 1 if it fails."""
    if bool(candidate) == bool(prompt):
        message = "give either --candidate model@version or --prompt prompt@version"
        raise typer.BadParameter(message, param_hint="--candidate")

    async def work(connection: Connection) -> Evaluation:
        asked = Evaluations(connection)
        started = await asked.compare(
            deployment, suite, candidate=candidate, candidate_prompt=prompt, baseline=baseline, metrics=metric or ()
        )
        return await _followed(asked, started)

    evaluation = call(work)
    show(plain(evaluation), _picture(evaluation))
    if evaluation.state != EvaluationState.EVALUATION_STATE_COMPLETED:
        raise typer.Exit(EXIT_ERROR)


async def _followed(asked: Evaluations, started: Evaluation) -> Evaluation:
    with progress() as bar:
        task = bar.add_task("waiting for a worker", total=None)

        def advance(found: Evaluation) -> None:
            state = word(EvaluationState, found.state)
            bar.update(task, description=f"{state}, cases", completed=found.answered, total=found.cases or None)

        return await asked.wait(started.id, watch=advance)


def _picture(evaluation: Evaluation) -> RenderableType:
    facts = {
        "evaluation": evaluation.id,
        "state": word(EvaluationState, evaluation.state),
        "why": " ".join(part for part in (evaluation.reason, evaluation.message) if part),
        "gate": evaluation.gate or "by hand",
        "deployment": evaluation.deployment,
        "baseline": f"its own answers of {evaluation.reevaluates}" if evaluation.reevaluates else evaluation.baseline,
        "candidate": evaluation.candidate,
        "dataset": evaluation.dataset_version,
        "cases": f"{evaluation.answered} of {evaluation.cases}",
        "ended": moment(evaluation.finish_time),
        "an answer takes": _latencies(evaluation),
        "verdict": verdict_of(evaluation),
    }
    rows = [_evidence(comparison) for comparison in evaluation.comparisons]
    interval = f"{_percent(evaluation.confidence)} interval" if evaluation.confidence else "interval"
    columns = ("cases", "metric", "n", "baseline", "candidate", "gain", interval, "asked", "", "unanswered")
    evidence: list[RenderableType] = ["", table(columns, rows)] if rows else []
    notes = [f"{c.metric} on {c.case_set}: {c.note}" for c in evaluation.comparisons if c.note]
    if any(0 < c.clusters < c.cases for c in evaluation.comparisons):
        shared = ", ".join(evaluation.cluster_by) or "end_user"
        notes.append(f"n: `60 in 20` are 60 questions in 20 clusters (by {shared}); each is one observation")
    evidence += ["", escape("\n".join(notes))] if notes else []
    return Group(card({name: value for name, value in facts.items() if value}), *evidence, *_slices(evaluation))


def _slices(evaluation: Evaluation) -> list[RenderableType]:
    """Return in which slices the candidate gains or loses; nothing where there are none."""
    if not evaluation.slices:
        return []
    columns = ("slice", "cases", "metric", "n", "baseline", "candidate", "gain", "interval", "p (Holm)")
    few = any(not each.enough for each in evaluation.slices)
    notes = ["slices decide nothing; p (Holm) is corrected for all of them, intervals for earlier candidates instead"]
    notes += ["`few`: too few clusters for a statement"] if few else []
    left_out = evaluation.slices_left_out
    notes += [f"{left_out} more comparisons, of the smallest slices, are left out"] if left_out else []
    less = {each.metric for each in evaluation.comparisons if each.less_is_better}
    rows = [_slice(each, less_is_better=each.metric in less) for each in evaluation.slices]
    return ["", table(columns, rows), "", "\n".join(notes)]


def _slice(s: SliceComparison, *, less_is_better: bool) -> tuple[object, ...]:
    return (
        f"{s.label}={s.value}",
        s.case_set,
        _named(s.metric, less_is_better=less_is_better),
        f"{s.cases} in {s.clusters}" if s.clusters < s.cases else s.cases,
        f"{s.baseline:.3f}",
        f"{s.candidate:.3f}",
        f"{s.difference:+.3f}",
        f"[{s.low:+.3f}, {s.high:+.3f}]",
        f"{s.adjusted_p_value:.3g}" if s.enough else "few",
    )


def _named(metric: str, *, less_is_better: bool) -> str:
    return f"{metric} (less is better)" if less_is_better else metric


def _percent(confidence: float) -> str:
    """Return a confidence in percent, with as many digits of what it lacks of 100 % as are not zero."""
    lacks = 100 * (1 - confidence)
    digits = max(0, 1 - floor(log10(lacks))) if lacks > 0 else 0
    return f"{round(100 * confidence, digits):.15g}%"


def _evidence(c: Comparison) -> tuple[object, ...]:
    """Return a comparison as a row; means and bounds are over the `n` questions that both sides answered.

    Of a single cluster, or of lengths that all differ alike, no spread is known, and so no interval is shown.
    """
    if c.metric == WEIGHTS_BYTES:
        return _sizes(c)
    if c.metric == EXPOSURE:
        return _exposures(c)
    known = c.cases > 0
    return (
        c.case_set,
        _named(c.metric, less_is_better=c.less_is_better),
        f"{c.cases} in {c.clusters}" if 0 < c.clusters < c.cases else c.cases,
        f"{c.baseline:.3f}" if known else "-",
        f"{c.candidate:.3f}" if known else "-",
        f"{c.difference:+.3f}" if known else "-",
        f"[{c.low:+.3f}, {c.high:+.3f}]" if known and c.low < c.high else "-",
        f"above {c.gain_above:+g}" if c.required else "",
        ("holds" if c.holds else "does not hold") if c.required else "",
        unanswered(c),
    )


def _sizes(c: Comparison) -> tuple[object, ...]:
    """Return what the weights of both sides take as a row; 0 is not known."""
    baseline, candidate = (f"{size / 1e6:.1f} MB" if size else "-" for size in (c.baseline, c.candidate))
    saved = f"{c.difference / 1e6:+.1f} MB" if c.baseline and c.candidate else "-"
    asked = f"at most {(c.baseline - c.gain_above) / 1e6:.1f} MB" if c.baseline else ""
    holds = "holds" if c.holds else "does not hold"
    return (c.case_set, "bytes (less is better)", "", baseline, candidate, saved, "", asked, holds, "")


def _exposures(c: Comparison) -> tuple[object, ...]:
    """Return the exposures of both sides' canaries as a row; 0 is not known."""
    baseline, candidate = (f"{bits:.2f}" if bits else "-" for bits in (c.baseline, c.candidate))
    spared = f"{c.difference:+.2f}" if c.baseline and c.candidate else "-"
    asked = f"at most {c.baseline - c.gain_above:.2f}"
    holds = "holds" if c.holds else "does not hold"
    return (c.case_set, "bits (less is better)", c.cases or "", baseline, candidate, spared, "", asked, holds, "")


def _latencies(evaluation: Evaluation) -> str:
    """Return the median latencies; "" if unknown."""
    if not evaluation.HasField("candidate_latency"):
        return ""
    baseline, candidate = (
        each.ToMilliseconds() / 1000 for each in (evaluation.baseline_latency, evaluation.candidate_latency)
    )
    return f"{baseline:.2f} s by the baseline, {candidate:.2f} s by the candidate (median)"
