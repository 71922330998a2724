"""The demo's report as a self-contained HTML page: figures, scores, loss, rollout and lineage."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any, TypeVar, cast

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from tidemill.monitor.v1.lineage_service_pb2 import GetLineageResponse
from tidemill.trainer.v1.sweep_pb2 import Sweep
from tidemill_cli.lineage_picture import lineage_svg
from tidemill_cli.sweep_page import sweep_body
from tidemill_helpdesk.report_plots import Case, Moment, loss_svg, scores_svg, timeline_svg

PICTURES = "pictures"
M = TypeVar("M", bound=Message)

_SCORES, _LOSSES, _TIMELINE, _LINEAGE = "scores", "losses", "timeline", "lineage"
_SWEEP, _PREFERRED = "sweep", "preferred_losses"
_SHAPES = {
    _SCORES: "case_set, metric, question, before and after",
    _LOSSES: "step and loss",
    _PREFERRED: "step and loss",
    _SWEEP: "id, space and trials, as in Sweep",
    _TIMELINE: "time (RFC 3339), event and message",
    _LINEAGE: "kind and id, as in GetLineageResponse",
}

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1f2933; max-width: 68rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .25rem .6rem; vertical-align: top }
tr { border-bottom: 1px solid #e4e7eb } td:last-child { overflow-wrap: anywhere }
th { color: #52606d; font-weight: 600 }
figure { margin: 1rem 0; overflow-x: auto } svg { max-width: none; height: auto }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_html(report: Mapping[str, Any], path: Path) -> None:
    """Write the report as one self-contained file: inline SVG, no scripts, no external resources.

    `report` is what report.json holds: `project`, and sections of figures `{section: {name: value}}`, `seconds` among
    them. All of it becomes a table. `report["pictures"]` is no figure and holds what is drawn; each of its fields may
    be missing or empty, and is left out then:

    - `scores`: `[{"case_set": str, "metric": str, "question": str, "before": float, "after": float}]`, one for each
      case; each set and metric becomes a plot of its own;
    - `losses`: `[[step, loss]]`; `preferred_losses`, those of what was trained on pairs, in the same shape;
    - `sweep`: a `Sweep`, or the same as proto-JSON;
    - `timeline`: `[{"time": "2026-01-01T12:00:00Z", "event": str, "message": str}]`, further fields are passed over:
      the entries of `GetTimelineResponse` as proto-JSON;
    - `lineage`: a `GetLineageResponse`, or the same as proto-JSON (`MessageToDict`).

    Raises:
        MisshapenPicture: a field of `pictures` is invalid.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(_page(report)), encoding="utf-8")


def _page(report: Mapping[str, Any]) -> Iterator[str]:
    pictures = report.get(PICTURES) or {}
    project = escape(str(report.get("project", "")))
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
    yield f"<title>Tidemill: {project}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
    yield f"<h1>What was measured in {project}</h1>\n"
    yield from _table(report)
    plots = _score_plots(pictures.get(_SCORES) or ())
    yield from _section("Scores, question by question", plots)
    sweep = _message(Sweep(), pictures.get(_SWEEP), _SWEEP)
    if sweep.trials:
        yield f"<h2>Sweep {escape(sweep.id)}</h2>\n"
        yield from sweep_body(sweep)
    losses = _loss_points(pictures, _LOSSES)
    yield from _section("Training", [loss_svg(losses)] if losses else [])
    losses = _loss_points(pictures, _PREFERRED)
    yield from _section("Training on pairs", [loss_svg(losses, name=_PREFERRED)] if losses else [])
    moments = _moments(pictures.get(_TIMELINE) or ())
    yield from _section("From the examples to the promotion", [timeline_svg(moments)] if moments else [])
    lineage = _message(GetLineageResponse(), pictures.get(_LINEAGE), _LINEAGE)
    yield from _section("Where it came from", [lineage_svg(lineage)] if lineage.nodes else [])
    yield "</body>\n</html>\n"


def _table(report: Mapping[str, Any]) -> Iterator[str]:
    yield "<table>\n<tr><th></th><th>figure</th><th>value</th></tr>\n"
    for section, values in report.items():
        if section in {PICTURES, "project"}:
            continue
        figures = values if isinstance(values, Mapping) else {"": values}
        for name, value in figures.items():
            cells = (section, name, _spelled(value))
            yield "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>\n"
    yield "</table>\n"


def _spelled(value: object) -> str:
    """Format a figure: four digits, lists in brackets, nested ones as `name: value`."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_spelled(inner)}" for name, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_spelled(inner) for inner in value) + "]"
    return str(value)


def _section(title: str, plots: Sequence[str]) -> Iterator[str]:
    if plots:
        yield f"<h2>{escape(title)}</h2>\n"
    for plot in plots:
        yield f"<figure>\n{plot}</figure>\n"


def _score_plots(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    cases: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for score in scores:
        try:
            case = Case(question=str(score["question"]), before=float(score["before"]), after=float(score["after"]))
            cases[str(score["case_set"]), str(score["metric"])].append(case)
        except (KeyError, TypeError, ValueError) as error:
            raise MisshapenPicture(_SCORES) from error
    return [scores_svg(case_set, metric, of_set) for (case_set, metric), of_set in cases.items()]


def _loss_points(pictures: Mapping[str, Any], field: str) -> list[tuple[float, float]]:
    try:
        return [(float(step), float(loss)) for step, loss in pictures.get(field) or ()]
    except (TypeError, ValueError) as error:
        raise MisshapenPicture(field) from error


def _moments(entries: Sequence[Mapping[str, Any]]) -> list[Moment]:
    try:
        return [
            Moment(
                time=datetime.fromisoformat(str(entry["time"])),
                event=str(entry.get("event", "")),
                message=str(entry.get("message", "")),
            )
            for entry in entries
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MisshapenPicture(_TIMELINE) from error


def _message(empty: M, given: M | Mapping[str, Any] | None, field: str) -> M:
    """Return a message that was given as such or as proto-JSON, and `empty` without one."""
    if isinstance(given, type(empty)):
        return given
    try:
        return ParseDict(dict(cast("Mapping[str, Any]", given or {})), empty, ignore_unknown_fields=True)
    except ParseError as error:
        raise MisshapenPicture(field) from error


class MisshapenPicture(ValueError):
    """A field of `pictures` is not what `write_html` takes."""

    def __init__(self, field: str) -> None:
        super().__init__(f"pictures.{field} has another shape: each has {_SHAPES[field]}")
