"""A prompt test: the same cases answered by several variants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tidemill_core.application import derived_id
from tidemill_evaluator.evaluations.domain.job import EvaluationJob, State
from tidemill_evaluator.prompt_tests.domain.cells import VariantFigures
from tidemill_evaluator.prompt_tests.domain.grid import Grid
from tidemill_evaluator.suites.domain.cases import CaseSet


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedGrid:
    """What holds from the start on."""

    cases: int
    case_set: CaseSet | None = None
    """None where the test brought its questions."""
    models: tuple[str, ...]
    """`model@version` that each variant has to be answered by."""
    configurations: Mapping[str, str]
    """The digest of what is live of each deployment."""
    pins: Mapping[str, str] = field(default_factory=dict)
    """The versions of what computes metrics that may change meanwhile, by metric."""


@dataclass(slots=True, kw_only=True)
class PromptTest(EvaluationJob):
    """QUEUED until a worker has pinned what is asked, then RUNNING, then final. It publishes no events."""

    grid: Grid
    suite: str
    """Copy from `grid`, for filters of lists."""
    pinned: PinnedGrid | None = None
    figures: tuple[VariantFigures, ...] = ()

    @classmethod
    def queued(cls, project: str, grid: Grid, *, request_id: str, asked_by: str, requester: str) -> "PromptTest":
        """Return a new test; its id derives from the request's."""
        return cls(
            id=derived_id(project, "StartPromptTest", request_id),
            project=project,
            grid=grid,
            suite=grid.suite,
            asked_by=asked_by,
            requester=requester,
        )

    @property
    def cells(self) -> int:
        """Number of answers in all; 0 before it has begun."""
        return self.pinned.cases * len(self.grid.variants) if self.pinned else 0

    def begin(self, pinned: PinnedGrid, *, epoch: int) -> None:
        """Pin what is asked."""
        self.refuse_unless_claimed(epoch)
        if self.state is State.RUNNING:
            return
        self.state, self.message, self.pinned = State.RUNNING, "", pinned

    def complete(self, figures: Sequence[VariantFigures], *, now: datetime, epoch: int) -> None:
        """Record the figures."""
        self.refuse_unless_claimed(epoch)
        self.figures, self.answered = tuple(figures), self.cells
        self.finish(State.COMPLETED, now, None)

    def forget_texts(self) -> None:
        """Remove the questions and the texts of unsaved prompts; the figures stay."""
        self.grid = self.grid.without_texts

    def has_failed(self, _now: datetime) -> None:
        """Publish nothing: no service decides by a test."""
