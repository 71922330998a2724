"""Ports of curations."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Aggregates, Caller, Page, PageRequest
from tidemill_feedback.curations.domain.curation import Curation
from tidemill_feedback.curations.domain.example import Example, Prompt
from tidemill_feedback.curations.domain.ledger import Begun, CandidateExample, Counts, CurationRef, Row, Tally
from tidemill_feedback.curations.domain.measures import Measures

CurationStore = Aggregates[Curation]
Enqueue = Callable[[CurationRef], None]
"""Enqueues a curation for its controller."""
Begin = Callable[[ObjectRef], Awaitable[None]]
"""Takes where a batch will be, before anything is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredText:
    """A correction, and the prompt of the answer that it corrects."""

    prompt: Prompt
    text: str


class Measure(Protocol):
    """Measures corrections."""

    async def __call__(self, texts: Sequence[MeasuredText], *, key: str, find_spam: bool) -> Sequence[Measures]:
        """Return the measures in the order of the texts, without cohorts; computed beside the event loop.

        Those of different keys are never equal.
        """
        ...


class RecordedPrompts(Protocol):
    """The inference service: prompts of recorded answers."""

    async def prompt(self, caller: Caller, inference: str) -> Prompt:
        """Return the prompt that the model received for an inference.

        Raises:
            NotFound, PreconditionFailed: it is not there, or was not recorded in full.
            DependencyUnavailable: inference does not answer.

        """
        ...


class Ledger(Protocol):
    """Rows by incarnation of a curation and feedback. Writes carry an epoch and do not overwrite later ones."""

    async def upsert_correction(self, ref: CurationRef, candidate: CandidateExample) -> bool:
        """Store a correction to resolve, unless the row is as new; return whether it was stored."""
        ...

    async def rows(self, ref: CurationRef) -> Sequence[Row]:
        """Return all rows of a curation."""
        ...

    async def pending(self, ref: CurationRef, *, limit: int) -> Sequence[Row]:
        """Return some unresolved rows, without reading others."""
        ...

    async def resolve(
        self, ref: CurationRef, row: Row, *, epoch: int, chars: int, measures: Measures | None = None
    ) -> bool:
        """Mark a row as resolved; False if the row has changed or the epoch is outdated."""
        ...

    async def fail(self, ref: CurationRef, row: Row, *, epoch: int, message: str, final: bool) -> bool:
        """Record a failed attempt; a final one is not retried."""
        ...

    async def reopen(self, ref: CurationRef, row: Row, *, epoch: int) -> bool:
        """Mark a row as unresolved; False if the row has changed or the epoch is outdated."""
        ...

    async def tag(self, ref: CurationRef, feedback: Sequence[str], *, completion: int, epoch: int) -> bool:
        """Tag the rows of the next completion, and remove the tags of an earlier attempt.

        Rows keep the number of an earlier completion. Returns False if one of the rows does not exist or is excluded.

        Raises:
            EpochOver: a later holder of the lease has written.

        """
        ...

    async def exclude(self, feedback: str, *, seq: int) -> None:
        """Keep of a correction that counts no more in which completion it was, in all curations.

        A row of a later event than `seq` stays as it is.
        """
        ...

    async def forget(self, feedback: Mapping[str, int]) -> None:
        """Delete the rows of erased feedback in all curations, but those of a later event than its seq here."""
        ...

    async def drop(self, ref: CurationRef) -> None:
        """Delete all rows and counts of an incarnation."""
        ...

    async def kept(self) -> Sequence[CurationRef]:
        """Return all incarnations of curations with rows or counts."""
        ...

    async def record_counts(self, ref: CurationRef, tally: Tally, *, epoch: int) -> None:
        """Store the progress as of the changes that were `seen`."""
        ...

    async def record_refusals(self, ref: CurationRef, refusals: Mapping[str, str], *, epoch: int) -> None:
        """Store why feedback is no example, "" where it is one again; what is to be resolved again stays as it is."""
        ...

    async def refused(self, ref: CurationRef, page: PageRequest) -> Page[Row]:
        """Return a page of the rows that are no examples by their time of observation; `where` may name a `refusal`.

        Raises:
            InvalidInput: the page is not usable.

        """
        ...

    async def record_listed(self, ref: CurationRef, *, deployments: int, token: str, epoch: int) -> None:
        """Store the progress of the initial listing of the deployment's corrections."""
        ...

    async def record_due(self, ref: CurationRef, due: datetime | None, *, epoch: int) -> None:
        """Store when the curation is due without further changes."""
        ...

    async def record_batch(self, ref: CurationRef, batch: Begun | None, *, epoch: int) -> None:
        """Store which batch is about to be written, None when a completion names it or it is gone.

        Raises:
            EpochOver: a later holder of the lease has written.

        """
        ...

    async def tally(self, ref: CurationRef) -> Tally:
        """Return the last recorded progress, and the number of changes since."""
        ...

    async def pending_curations(self, now: datetime) -> Sequence[CurationRef]:
        """Return incarnations with uncounted changes, those that are due, and those with an unfinished batch."""
        ...

    async def counts(self, refs: Sequence[CurationRef]) -> Mapping[CurationRef, Counts]:
        """Return the last recorded counts, of the incarnations that have any."""
        ...


class Prompts(Protocol):
    """Cached prompts of inferences; immutable, and deleted when their end user is erased."""

    async def missing(self, project: str, inferences: Sequence[str]) -> Sequence[str]:
        """Return those of the inferences without a cached prompt."""
        ...

    async def keep(self, project: str, inference: str, prompt: Prompt) -> None:
        """Store a prompt; idempotent."""
        ...

    async def get(self, project: str, inferences: Sequence[str]) -> Mapping[str, Prompt]:
        """Return the cached prompts by inference."""
        ...

    async def forget(self, project: str, inferences: Sequence[str]) -> None:
        """Delete the prompts of these inferences."""
        ...


class Batches(Protocol):
    """feedback's exchange bucket."""

    async def put(self, ref: CurationRef, examples: Sequence[Example], *, begin: Begin) -> tuple[ObjectRef, int]:
        """Store the latest examples that fit as JSON lines, by content hash; return the object and their number.

        Nothing is stored before `begin` has returned.

        Raises:
            DependencyUnavailable: the object store does not answer.

        """
        ...

    async def remove(self, stored: ObjectRef) -> None:
        """Remove a batch that no completion names, because what is in it was erased meanwhile."""
        ...


class Curations(Protocol):
    """All curations of all projects, without deleted ones."""

    async def all(self) -> Sequence[CurationRef]:
        """Return their names."""
        ...
