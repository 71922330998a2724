"""A run of a public evaluation harness against a deployment: recorded once, when it has ended."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from tidemill_core.aggregate import Aggregate, Event, ObjectRef
from tidemill_core.application import derived_id
from tidemill_core.errors import Violation
from tidemill_core.resources import label_violations, slug_violations
from tidemill_evaluator.errors import DEPLOYMENT_CHANGED
from tidemill_evaluator.harness_runs.domain.scores import HarnessScore

MAX_TESTS, MAX_SCORES = 200, 1000
MAX_NAME_LENGTH, MAX_MESSAGE_LENGTH = 200, 1000
MAX_TOTAL = 1_000_000
"""Tests of one score: the sum of all fits the event's numbers."""
_REASON: Final = re.compile(r"[A-Z][A-Z0-9_]{2,63}")
_CHANGED = (
    "another configuration is live than when the run began, or a rollout is under way, so that answers may be of both: "
    "run it again, once the deployment changes no more"
)


class HarnessTool(Enum):
    """A public harness."""

    GARAK = "garak"
    LM_EVAL = "lm_eval"


class HarnessRunState(Enum):
    """How a run ended."""

    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessRunHasEnded(Event):
    """The run is recorded; what it found is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """A deployment's live configuration when a run is recorded."""

    configuration: str
    model: str
    passages_of: tuple[str, ...] = ()
    """Projects whose collections it searches."""
    rolling_out: bool = False
    """Whether a candidate may answer too."""

    def differs_from(self, configuration: str) -> bool:
        """Return whether others than a configuration may have answered, so far as is known."""
        return self.rolling_out or self.configuration != configuration


@dataclass(slots=True, kw_only=True)
class HarnessRun(Aggregate):
    """COMPLETED with scores or FAILED with a reason, from the start on; only its report goes later."""

    tool: HarnessTool
    tool_version: str = ""
    deployment: str
    configuration: str
    """Digest of what was live when it began."""
    model: str = ""
    tests: tuple[str, ...] = ()
    state: HarnessRunState = HarnessRunState.COMPLETED
    reason: str = ""
    message: str = ""
    scores: tuple[HarnessScore, ...] = ()
    start_time: datetime
    end_time: datetime
    requester: str = ""
    asked_by: str = ""
    """Digest of the request that recorded it."""
    report: ObjectRef | None = None
    """It names the report before that is stored, so that every stored one is found."""
    report_time: datetime | None = None
    """When the report was recorded; None once it is gone."""
    passages_of: tuple[str, ...] = ()
    """Projects of whose documents the report may have passages; none once it is gone."""
    withdrawn: bool = False
    """The report is about to be removed, and read no more."""

    def record(self, live: Live, *, request_id: str, asked_by: str, requester: str, now: datetime) -> None:
        """Complete what a client sent with what the evaluator knows; its id derives from the request's."""
        self.id = derived_id(self.project, "RecordHarnessRun", request_id)
        self.asked_by, self.requester = asked_by, requester
        if live.differs_from(self.configuration):
            self.reason, self.message = (self.reason, self.message) if self.reason else (DEPLOYMENT_CHANGED, _CHANGED)
        else:
            self.model = live.model
        self.state = HarnessRunState.FAILED if self.reason else HarnessRunState.COMPLETED
        self.scores = () if self.reason else self.scores
        self.pending.append(HarnessRunHasEnded(occurred_at=now))

    def name_report(self, report: ObjectRef, live: Live, *, now: datetime) -> None:
        """Name the report that is stored next, and whose passages it may have; none where that is not known."""
        if live.differs_from(self.configuration):
            return
        self.report, self.report_time, self.passages_of = report, now, live.passages_of

    def withdraw_report(self) -> None:
        """Have the report read no more: it is removed next."""
        self.withdrawn = self.report is not None

    def forget_report(self) -> None:
        """Name the report no more: it is removed."""
        self.report, self.report_time, self.passages_of, self.withdrawn = None, None, (), False

    @property
    def readable(self) -> ObjectRef | None:
        """The report, unless it is gone."""
        return None if self.withdrawn else self.report

    @property
    def report_bytes(self) -> int:
        """Size of the report; 0 where it is gone."""
        return self.readable.size if self.readable else 0

    def violations(self) -> Iterator[Violation]:
        """Yield what is wrong with a run that a client sent."""
        yield from slug_violations("run.deployment", self.deployment)
        yield from label_violations("run.labels", self.labels)
        yield from _length_violations("run.configuration", self.configuration, low=1, high=MAX_NAME_LENGTH)
        yield from _length_violations("run.tool_version", self.tool_version, low=0, high=MAX_NAME_LENGTH)
        yield from _length_violations("run.message", self.message, low=0, high=MAX_MESSAGE_LENGTH)
        if len(self.tests) > MAX_TESTS:
            yield Violation("run.tests", f"has {len(self.tests)} entries, and {MAX_TESTS} is the limit")
        for place, name in enumerate(self.tests[:MAX_TESTS]):
            yield from _length_violations(f"run.tests[{place}]", name, low=1, high=MAX_NAME_LENGTH)
        if self.end_time < self.start_time:
            yield Violation("run.end_time", "is before start_time: send when the harness was started and when it ended")
        if self.reason and not _REASON.fullmatch(self.reason):
            yield Violation("run.reason", "is no UPPER_SNAKE of 3 to 64 characters, such as HARNESS_MISSING")
        yield from self._score_violations()

    def _score_violations(self) -> Iterator[Violation]:
        if bool(self.scores) == bool(self.reason):
            text = f"has {len(self.scores)} entries: send scores, or the reason why there are none"
            yield Violation("run.scores", text)
        if len(self.scores) > MAX_SCORES:
            yield Violation("run.scores", f"has {len(self.scores)} entries, and {MAX_SCORES} is the limit")
            return
        for place, score in enumerate(self.scores):
            where = f"run.scores[{place}]"
            yield from _length_violations(f"{where}.test", score.test, low=1, high=MAX_NAME_LENGTH)
            yield from _length_violations(f"{where}.metric", score.metric, low=1, high=MAX_NAME_LENGTH)
            if not 1 <= score.total <= MAX_TOTAL:
                yield Violation(f"{where}.total", f"is {score.total}: send 1 to {MAX_TOTAL} tests")
            if not 0 <= score.passed <= score.total:
                yield Violation(f"{where}.passed", f"is {score.passed} of {score.total}: send 0 to total")
        counted = Counter((each.test, each.metric) for each in self.scores)
        if twice := [name for name, count in counted.items() if count > 1]:
            yield Violation("run.scores", f"has {len(twice)} tests twice by the same metric: send each once")


def _length_violations(field: str, value: str, *, low: int, high: int) -> Iterator[Violation]:
    if not low <= len(value) <= high:
        yield Violation(field, f"has {len(value)} characters: send {low} to {high}")
