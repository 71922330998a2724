"""Answers that are given again: where they are found, and what generation needs of them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from tidemill_core.application import Caller
from tidemill_inference.caching.domain.policy import CachePolicy, SemanticCachePolicy
from tidemill_inference.caching.domain.savings import DailySavings
from tidemill_inference.caching.domain.use import CacheUse
from tidemill_inference.generation.domain.content import Candidate, Message, Passage
from tidemill_inference.generation.domain.inference import Answer, Inference, Variant
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.ports import Found


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An answer by its key; its text is in the record of the inference, and goes with it."""

    key: str
    deployment: str
    inference: str
    expire_time: datetime


class CachedAnswers(Protocol):
    """Which inferences have the answers, by project and key."""

    async def get(self, project: str, key: str) -> Entry | None:
        """Return an entry, which may have expired.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        ...

    async def put(self, project: str, entry: Entry) -> None:
        """Keep an entry in place of the one with its key.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        ...

    async def remove(self, project: str, entry: Entry) -> None:
        """Remove an entry, unless another inference has taken its place.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        ...

    async def count(self, project: str, *, limit: int) -> int:
        """Return how many a project has, counting no further than `limit`.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        ...

    async def remove_first(self, project: str, *, limit: int) -> int:
        """Remove those of a project that expire first; return how many.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        ...

    async def remove_expired(self, before: datetime, *, limit: int) -> int:
        """Remove some of all projects that have expired; return how many.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
        ...


class SavingsStore(Protocol):
    """What caches saved, by deployment and day. Every method may raise DependencyUnavailable."""

    async def add(self, savings: DailySavings) -> None:
        """Add to what a deployment has saved in a day."""
        ...

    async def since(self, project: str, deployment: str, day: date) -> Sequence[DailySavings]:
        """Return a deployment's days from `day` on, the newest first."""
        ...

    async def remove_before(self, day: date, *, limit: int) -> int:
        """Remove some days of all projects before `day`; return how many."""
        ...


class ReadingSavings(Protocol):
    """The use case `ReadSavings`."""

    async def __call__(self, caller: Caller, deployment: str, *, days: int = 0) -> list[DailySavings]:
        """See `ReadSavings`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarQuestion:
    """The inference of an earlier question, and the cosine similarity."""

    inference: str
    similarity: float


class SimilarQuestions(Protocol):
    """Earlier questions by their vectors, which rag keeps. Every method raises a TidemillError where rag does."""

    async def nearest(
        self, caller: Caller, policy: SemanticCachePolicy, *, scope: str, text: str, limit: int
    ) -> Sequence[SimilarQuestion]:
        """Return the most similar ones above the threshold, the best first."""
        ...

    async def put(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        caller: Caller,
        policy: SemanticCachePolicy,
        *,
        scope: str,
        text: str,
        inference: str,
        end_user: str,
        expire_time: datetime,
    ) -> None:
        """Keep the vector of a question, which is erased with its end user."""
        ...

    async def remove(self, caller: Caller, inferences: Sequence[str]) -> None:
        """Remove questions whose answers are given no longer."""
        ...

    async def check(self, caller: Caller, policy: SemanticCachePolicy) -> None:
        """Load the model.

        Raises:
            InvalidInput: there is no such model, or it cannot embed.
            DependencyUnavailable: rag does not answer.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question on its way to an answer, after the search."""

    inference: Inference
    question: Question
    configuration: str
    """The digest of what answers."""
    index: int
    passages: Sequence[Passage]
    examples: Sequence[str]
    """The ids of the examples before it."""
    examples_known: bool
    """Whether these are the question's; where they are not known, no answer is given again, or kept."""
    search: Callable[[tuple[Message, ...]], Awaitable[Found]]
    """Searches as for the question, with other messages; raises as a search does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reused:
    """An answer that was given before."""

    output: tuple[Message, ...]
    alternatives: tuple[Candidate, ...]
    variant: Variant
    finish_reason: str
    citation_valid: float | None
    passages: tuple[Passage, ...]
    """Those of the question that it was made for, as they are found now."""
    use: CacheUse


class Reusing(Protocol):
    """Gives answers again. A store that does not answer costs the cache, and never the answer."""

    async def find(self, caller: Caller, policy: CachePolicy, asked: Asked) -> Reused | None:
        """Return the answer to an equal or a similar question.

        It waits for an answer to an equal one that is being made in this process. Where there is none, the inference is
        now the one that equal questions wait for, until `end`.
        """
        ...

    async def keep(self, inference: Inference, answer: Answer) -> None:
        """Have the answer of a completed inference given again, if `find` was asked for it and it is good for that."""
        ...

    def end(self, project: str, inference_id: str) -> None:
        """Have no question wait for this inference any longer, whatever became of it."""
        ...
