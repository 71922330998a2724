"""What differs between runs, and how they did."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from tidemill.evaluator.v1.evaluation_pb2 import Evaluation
from tidemill_cli.loop.stages import EXPOSURE, WEIGHTS_BYTES, exposed, sizes, verdict_of
from tidemill_cli.output import plain
from tidemill_cli.run_history.records import RunRecord, Value

GROUPS = ("settings", "data", "environment")
MIN_NAME = 8
"""Characters of a run's id that are shown, more where several would look alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A value that the runs do not share, one for each of them; None where a run has none."""

    group: str
    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs side by side."""

    runs: Sequence[RunRecord]
    differences: Sequence[Difference]
    shared: int
    """How many values of settings, data and environment are the same in all of them."""
    notice: str = ""
    """What could not be read."""

    @property
    def names(self) -> Sequence[str]:
        """The runs as they are headed: the trial of a sweep, else as much of the id as no other has."""
        ids = [run.id for run in self.runs]
        sizes = range(MIN_NAME, max(map(len, ids), default=0))
        length = next((size for size in sizes if len({each[:size] for each in ids}) == len(ids)), None)
        return [f"{run.sweep}/{run.trial}" if run.trial else run.id[:length] for run in self.runs]

    @property
    def figures(self) -> Sequence[tuple[str, Sequence[float | None]]]:
        """The figures of all runs in the order in which the first that has one names it."""
        names = dict.fromkeys(name for run in self.runs for name in run.figures)
        return [(name, [run.figures.get(name) for run in self.runs]) for name in names]

    @property
    def curves(self) -> Sequence[str]:
        """The names of curves that at least one run has."""
        return list(dict.fromkeys(name for run in self.runs for name in run.curves))

    def as_json(self) -> Mapping[str, Any]:
        """Return it for programs, with everything that the runs record."""
        ids = [run.id for run in self.runs]
        return {
            "runs": [_as_json(run) for run in self.runs],
            "differences": [
                {"group": each.group, "name": each.name, "values": dict(zip(ids, each.values, strict=True))}
                for each in self.differences
            ],
            "shared": self.shared,
            "notice": self.notice,
        }


def compare(runs: Sequence[RunRecord], *, notice: str = "") -> Comparison:
    """Return what differs between the runs."""
    found, shared = list[Difference](), 0
    for group in GROUPS:
        valued: list[Mapping[str, Value]] = [getattr(run, group) for run in runs]
        for name in dict.fromkeys(name for values in valued for name in values):
            values = tuple(each.get(name) for each in valued)
            if all(value == values[0] for value in values):
                shared += 1
            else:
                found.append(Difference(group=group, name=name, values=values))
    return Comparison(runs=runs, differences=found, shared=shared, notice=notice)


def evidence(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """Yield what an evaluation measured, in words: first its verdict, then each metric on each set of cases."""
    yield f"{evaluation.gate or 'by hand'} against {evaluation.baseline}", evaluation.reason or verdict_of(evaluation)
    if evaluation.HasField("candidate_latency"):
        yield "median answer", f"{evaluation.candidate_latency.ToMilliseconds() / 1000:.2f} s"
    for each in evaluation.comparisons:
        if each.metric == WEIGHTS_BYTES:
            yield "weights", sizes(each)
        elif each.metric == EXPOSURE:
            yield "exposure", exposed(each)
        elif each.cases:
            bounds = f"[{each.low:+.3f}, {each.high:+.3f}]"
            text = f"{each.candidate:.3f}, {each.difference:+.3f} {bounds}"
            yield f"{each.metric} on {each.case_set}", text


def evaluation_rows(runs: Sequence[RunRecord]) -> Sequence[tuple[str, Sequence[str]]]:
    """Return what is known of the versions that came of the runs, by gate or metric; of each run the newest."""
    known: list[dict[str, str]] = [
        {name: text for evaluation in run.evaluations for name, text in evidence(evaluation)} for run in runs
    ]
    names = dict.fromkeys(name for each in known for name in each)
    return [(name, [each.get(name, "-") for each in known]) for name in names]


def shown(value: Value) -> str:
    """Return a value for a table."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _as_json(run: RunRecord) -> Mapping[str, Any]:
    values = {each.name: getattr(run, each.name) for each in fields(run)}
    return values | {"evaluations": [plain(evaluation) for evaluation in run.evaluations]}
