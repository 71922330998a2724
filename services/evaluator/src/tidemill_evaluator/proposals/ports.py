"""Ports of proposals."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidemill_core.application import Aggregates, Caller
from tidemill_evaluator.proposals.domain.candidate import Candidate
from tidemill_evaluator.proposals.domain.proposal import Coverage, LiveAnswers, Proposal
from tidemill_evaluator.proposals.domain.quality import Selected
from tidemill_evaluator.suites.domain.cases import Case, Context, DocumentVersion
from tidemill_evaluator.suites.ports import Cases, Restricted, Schemas, Suites

Proposals = Aggregates[Proposal]
Select = Callable[[Caller, Sequence[Candidate], Sequence[Case], Coverage | None], Awaitable[Selected]]
"""Returns what `quality.selected` does, off the event loop and bounded; raises InvalidInput where that is too much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """A live answer of which people say what is right: `reference`, or the answer itself where it is None."""

    inference: str
    reference: str | None = None
    by: str = ""
    """The end user who wrote the reference; "" for reviewers."""
    contradicted: bool = False
    """Another correction of the same answer says something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAnswer:
    """A recorded live answer with all that its question was asked with; texts are masked, as records are."""

    deployment: str
    question: str
    answer: str
    context: Context
    end_user: str
    labels: dict[str, str]
    rests_on: tuple[DocumentVersion, ...]


class Reviews(Protocol):
    """Client of feedback. Raises its errors as the kit's, and DependencyUnavailable if it is unavailable."""

    async def corrected(self, caller: Caller, deployment: str) -> Sequence[Reviewed]:
        """Return the latest answers with corrections that count, each once, newest first."""
        ...

    async def resolved(self, caller: Caller, live: LiveAnswers) -> Sequence[Reviewed]:
        """Return the latest resolved answers of a queue that say what is right, newest first.

        Raises:
            InvalidInput: there is no such queue or field, or the field is of another kind.

        """
        ...


class LiveRecords(Protocol):
    """Client of inference's records."""

    async def read(self, caller: Caller, inference: str) -> LiveAnswer | str:
        """Return a live answer, or why it cannot be a case: it is gone, keeps no texts, or uses tools."""
        ...

    async def deployment_exists(self, caller: Caller, deployment: str) -> bool:
        """Return whether the project has this deployment."""
        ...


class OfSuites(Protocol):
    """What proposals need of suites."""

    @property
    def suites(self) -> Suites: ...  # noqa: D102

    @property
    def cases(self) -> Cases: ...  # noqa: D102

    @property
    def schemas(self) -> Schemas: ...  # noqa: D102

    @property
    def restricted(self) -> Restricted: ...  # noqa: D102


class ProposedCases(Protocol):
    """Stores the candidates of proposals that are not decided."""

    async def keep(self, project: str, proposal: str, candidates: Sequence[Candidate]) -> None:
        """Store the candidates of a proposal in place of what it had."""
        ...

    async def read(self, project: str, proposal: str) -> Sequence[Candidate]:
        """Return the candidates in order."""
        ...

    async def forget(self, project: str, proposal: str) -> None:
        """Remove the candidates of a proposal."""
        ...
