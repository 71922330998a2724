"""Examples before a question: where they come from, where they are kept, and what generation needs of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller
from tidemill_inference.examples.domain.declared import Examples
from tidemill_inference.examples.domain.example_set import ChosenExample, Example, ExampleSet
from tidemill_inference.generation.domain.question import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainPart:
    """The train part of a dataset version; `version` is `dataset@number`."""

    version: str
    content: ObjectRef
    examples: int
    missing_approvals: int


class DatasetVersions(Protocol):
    """ingest's datasets."""

    async def train_part(self, caller: Caller, version: str) -> TrainPart:
        """Return the train part of `dataset@number`, or of the newest version of `dataset`.

        Raises:
            NotFound: the project has no such version.
            ServiceNotNamed: no ingest is known.
            DependencyUnavailable: ingest does not answer.

        """
        ...

    async def read(self, part: TrainPart) -> Sequence[Example]:
        """Return the examples of a part that can stand before any question.

        Left out are those that were asked within a conversation, those whose answer is not a good one, and long ones.

        Raises:
            NotFound: the object is gone.
            InvalidInput: it is no train part.
            DependencyUnavailable: the object store does not answer.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """An id, and the cosine similarity of its text."""

    text_id: str
    similarity: float


class QuestionVectors(Protocol):
    """Questions of examples by their vectors, which rag keeps. Every method raises a TidemillError where rag does."""

    async def nearest(
        self, caller: Caller, of: ExampleSet, *, question: str, min_similarity: float, limit: int
    ) -> Sequence[Nearest]:
        """Return the ids of the most similar questions, the best first."""
        ...

    async def put(self, caller: Caller, of: ExampleSet, example: Example, *, expire_time: datetime) -> datetime | None:
        """Keep the vector of an example's question; return when it is found no longer.

        None for a question that the model cannot embed whole.
        """
        ...

    async def remove(self, caller: Caller, text_ids: Sequence[str]) -> None:
        """Remove vectors; those that are not there are ignored."""
        ...

    async def check(self, caller: Caller, embedding: str) -> None:
        """Load the model.

        Raises:
            InvalidInput: there is no such model, or it cannot embed.
            DependencyUnavailable: rag does not answer.

        """
        ...


class ExampleSets(Protocol):
    """The sets of all projects. Every method may raise DependencyUnavailable, and is idempotent."""

    async def get(self, project: str, set_id: str) -> ExampleSet | None:
        """Return a set."""
        ...

    async def add(self, fresh: ExampleSet) -> None:
        """Add a set that is still to be loaded; one that is there stays as it is."""
        ...

    async def count(self, project: str, *, limit: int) -> int:
        """Return how many a project has, counting no further than `limit`."""
        ...

    async def save(self, changed: ExampleSet) -> bool:
        """Save what was done for a set, but for its use; return False where it is there no more."""
        ...

    async def use(self, project: str, set_id: str, *, now: datetime) -> None:
        """Record that questions are asked with a set."""
        ...

    async def remove(self, project: str, set_id: str) -> None:
        """Remove a set."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Where an example is: the set's id, and its own."""

    set_id: str
    example: str


class StoredExamples(Protocol):
    """The examples of all sets. Every method may raise DependencyUnavailable, and is idempotent."""

    async def put(self, of: ExampleSet, examples: Sequence[Example], *, part: str) -> None:
        """Store examples as those of a part; the vectors of those that are there stay as they are."""
        ...

    async def get(self, of: ExampleSet, ids: Sequence[str]) -> Sequence[Example]:
        """Return those of the ids that are there, of the set's part."""
        ...

    async def by_chance(
        self, of: ExampleSet, *, principals: frozenset[str], start: int, limit: int
    ) -> Sequence[Example]:
        """Return some of the set's part that who has these principals may see.

        They are in the order of their places from `start` on, and then from the first.
        """
        ...

    async def without_vector(self, of: ExampleSet, *, now: datetime, limit: int) -> Sequence[Example]:
        """Return some whose question has no vector yet, or one that has to be renewed."""
        ...

    async def embedded(self, of: ExampleSet, example: str, *, renew_at: datetime) -> bool:
        """Say until when an example needs no vector; return False where it is there no more."""
        ...

    async def others(self, of: ExampleSet, *, part: str, limit: int) -> Sequence[str]:
        """Return the ids of some of the set that are of another part."""
        ...

    async def of_end_user(self, project: str, end_user: str, *, limit: int) -> Sequence[Found]:
        """Return some that have words of a person."""
        ...

    async def of_document(self, project: str, document: str, *, limit: int) -> Sequence[Found]:
        """Return some that rest on a document."""
        ...

    async def remove(self, project: str, set_id: str, ids: Sequence[str]) -> None:
        """Remove examples."""
        ...


class ErasedSubjects(Protocol):
    """What of a project was erased."""

    async def __call__(self, project: str, subjects: Collection[str], /) -> Mapping[str, datetime]:
        """Return until when what came of a subject is erased, of those that were."""
        ...


class CheckingExamples(Protocol):
    """The use case `ResolveExamples`."""

    async def __call__(self, caller: Caller, declared: Examples) -> Examples:
        """See `ResolveExamples`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The examples for a question, the most similar one last."""

    examples: tuple[ChosenExample, ...] = ()
    why_not: str = ""
    """Why there are none: what to warn of."""


class ChoosingExamples(Protocol):
    """The use case `ChooseExamples`."""

    async def __call__(self, caller: Caller, declared: Examples, question: Question) -> Chosen:
        """See `ChooseExamples`."""
        ...

    async def request(self, project: str, declared: Examples) -> None:
        """See `ChooseExamples.request`."""
        ...

    async def check(self, project: str, declared: Examples) -> None:
        """See `ChooseExamples.check`."""
        ...
