"""A run that another tool recorded, as it is imported."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import derived_id
from tidemill_core.approvals import with_author
from tidemill_core.errors import Violation
from tidemill_core.resources import label_violations, line_violations, refuse
from tidemill_trainer.training.domain.curves import MAX_POINTS, Curve
from tidemill_trainer.training.domain.plan import DatasetVersion, RunLimits
from tidemill_trainer.training.domain.progress import Progress
from tidemill_trainer.training.domain.recipe import Recipe
from tidemill_trainer.training.domain.run import RunState, TrainingRun
from tidemill_trainer.training.domain.run_notes import notes_violations

MAX_PARAMETERS = 500
MAX_NAME_LENGTH = 250
MAX_VALUE_LENGTH = 1000
MAX_METRICS = 64
MAX_LINE_LENGTH = 200
MAX_STEP = 2**31 - 1
_QUOTED = 40
_NO_DATASET = DatasetVersion(id="", train=ObjectRef(bucket="", key="", size=0, sha256=""), examples=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRun:
    """What the other tool recorded."""

    source: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[Curve, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    notes: str = ""
    start_time: datetime | None = None
    finish_time: datetime | None = None
    status: str = ""

    def check(self) -> None:
        """Check sizes, names and numbers.

        Raises:
            InvalidInput: names every field that breaks its rule.

        """
        refuse(self._violations())

    def run(self, project: str, *, requester: str) -> TrainingRun:
        """Return the run: the same source is the same run of a project."""
        steps = max((curve.steps[-1] for curve in self.metrics if curve.steps), default=0)
        return TrainingRun(
            id=derived_id("ImportTrainingRun", project, self.source),
            project=project,
            labels=dict(self.labels),
            plan="",
            dataset=_NO_DATASET,
            base="",
            recipe=Recipe(method="", lora={}, args={}),
            limits=RunLimits(),
            state=RunState.IMPORTED,
            progress=Progress(step=steps, steps=steps, curves=tuple(sorted(self.metrics, key=lambda each: each.name))),
            message=self.status,
            notes=self.notes,
            source=self.source,
            parameters=dict(self.parameters),
            start_time=self.start_time,
            finish_time=self.finish_time,
            requester=requester,
            authors=with_author((), requester),
        )

    def _violations(self) -> Iterator[Violation]:
        yield from _text("source", self.source, needed=True)
        yield from _text("status", self.status)
        yield from label_violations("labels", self.labels)
        yield from notes_violations("notes", self.notes)
        yield from self._of_parameters()
        yield from self._of_metrics()
        if self.start_time and self.finish_time and self.finish_time < self.start_time:
            yield Violation("finish_time", f"is {self.finish_time}, before start_time {self.start_time}")

    def _of_parameters(self) -> Iterator[Violation]:
        if len(self.parameters) > MAX_PARAMETERS:
            yield Violation("parameters", f"has {len(self.parameters)} entries, and {MAX_PARAMETERS} is the limit")
            return
        for name, value in self.parameters.items():
            if not name or len(name) > MAX_NAME_LENGTH:
                text = f"has a name of {len(name)} characters; send 1 to {MAX_NAME_LENGTH}"
                yield Violation(f"parameters[{name[:_QUOTED]}]", text)
            if len(value) > MAX_VALUE_LENGTH:
                text = f"has {len(value)} characters, and {MAX_VALUE_LENGTH} is the limit"
                yield Violation(f"parameters[{name[:_QUOTED]}]", text)

    def _of_metrics(self) -> Iterator[Violation]:
        if len(self.metrics) > MAX_METRICS:
            yield Violation("metrics", f"has {len(self.metrics)} curves, and {MAX_METRICS} is the limit")
            return
        if len({curve.name for curve in self.metrics}) < len(self.metrics):
            yield Violation("metrics", "has several curves of one name: send each once")
        for curve in self.metrics:
            if why := _wrong(curve):
                yield Violation(f"metrics[{curve.name[:_QUOTED]}]", why)


def _text(name: str, value: str, *, needed: bool = False) -> Iterator[Violation]:
    if needed and not value:
        yield Violation(name, f"is empty; send 1 to {MAX_LINE_LENGTH} characters")
    yield from line_violations(name, value, limit=MAX_LINE_LENGTH)


def _wrong(curve: Curve) -> str:
    """Return what is wrong with a curve; "" if nothing is."""
    if not curve.name or len(curve.name) > MAX_NAME_LENGTH:
        return f"needs a name of 1 to {MAX_NAME_LENGTH} characters"
    if len(curve.steps) != len(curve.values) or not curve.steps or len(curve.steps) > MAX_POINTS:
        return f"has {len(curve.steps)} steps and {len(curve.values)} values; send 1 to {MAX_POINTS} of both"
    if not all(0 <= step <= MAX_STEP for step in curve.steps) or list(curve.steps) != sorted(set(curve.steps)):
        return "has steps that are negative, or do not increase: send each step once, in order"
    return "" if all(map(isfinite, curve.values)) else "has NaN or Infinity: send finite numbers"
