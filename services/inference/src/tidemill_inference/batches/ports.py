"""What batches need: their records, results, and what answers a line."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tidemill_core.application import Aggregates, Caller, ResourceKey
from tidemill_inference.batches.domain.batch import Batch
from tidemill_inference.batches.domain.lines import Result

Batches = Aggregates[Batch]


class Results(Protocol):
    """What came of lines, until it is written to files."""

    async def done(self, batch: ResourceKey) -> Mapping[int, bool]:
        """Return the numbers of the lines that are done, and whether they have an answer."""
        ...

    async def add(self, batch: ResourceKey, result: Result) -> None:
        """Keep what came of a line; the first one counts."""
        ...

    def all(self, batch: ResourceKey) -> AsyncIterator[Result]:
        """Yield what came of the lines, in their order."""
        ...

    async def remove(self, batch: ResourceKey) -> None:
        """Remove what came of all lines; removing nothing is no error."""
        ...

    async def remove_of(self, batch: ResourceKey, end_users: Collection[str]) -> None:
        """Remove what came of the lines of some end users; removing nothing is no error."""
        ...


class ErasedEndUsers(Protocol):
    """Which end users were erased, so that what is late is neither asked nor stored."""

    async def __call__(self, project: str, end_users: Collection[str], /) -> Mapping[str, datetime]:
        """Return, of those that were, until when what came of them is not to be kept."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LineAnswer:
    """What an endpoint answers to a line; `retry_after_s` where the same request may be answered later."""

    status: int
    body: object
    end_user: str = ""
    retry_after_s: float | None = None

    @property
    def ok(self) -> bool:
        """Whether it is an answer."""
        return self.status < 400  # noqa: PLR2004 - where HTTP's errors begin


class AskedLine(Protocol):
    """A line in work. What it was answered is kept with it until it has all its answers."""

    @property
    def held(self) -> bool:
        """Whether it has answers that are nowhere else: made anew, they would be charged again."""
        ...

    async def go_on(self) -> LineAnswer | None:
        """Return the answer, or the error that the caller would get; None where it asks for more answers yet.

        After an error with `retry_after_s` it goes on from there.
        """
        ...


class AnswerLine(Protocol):
    """Asks what a line asks, as the endpoint is asked by HTTP."""

    def __call__(self, caller: Caller, endpoint: str, body: bytes, /, *, request_id: str) -> AskedLine:
        """Return the line, of which nothing is asked yet; the same request id has one effect."""
        ...


class LiveTraffic(Protocol):
    """The places for answers, which live requests and lines share; the kit's `FairQueue`."""

    @property
    def held(self) -> int:
        """How many are held."""
        ...

    @property
    def waiting(self) -> int:
        """How many requests wait for one."""
        ...


class Places(Protocol):
    """How many lines this process asks at once."""

    async def take(self, stopped: Callable[[], bool]) -> bool:
        """Wait for a place; False if it was stopped before."""
        ...

    def give(self) -> None:
        """Give a place back."""
        ...


class Authors(Protocol):
    """Says whether who asked for a batch may still ask."""

    def revoked(self, batch: Batch) -> bool:
        """Return whether the credential, or what gave it its rights, was revoked since."""
        ...


class OldBatches(Protocol):
    """Removes what ended long ago, over all projects."""

    async def ended_before(self, time: datetime, *, spares: Callable[[str], bool], limit: int) -> Sequence[ResourceKey]:
        """Return batches that came to their end before a time, but for those of projects that are spared."""
        ...

    async def remove(self, batch: ResourceKey) -> None:
        """Remove a batch without a trace."""
        ...
