"""A dataset version's examples, made ready to be found, and those that an answer was given."""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from tidemill_core.application import derived_id
from tidemill_inference.examples.domain.declared import Examples

_ORDER_DIGITS = 13
"""Hexadecimal, so that a number has 52 bits: MongoDB and JSON keep those."""


class SetState(Enum):
    """Whether a set's examples can be chosen."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    """What is wrong has to change first; it is checked again all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleSet:
    """The examples of a dataset version for one embedding model, "" for none."""

    id: str
    project: str
    dataset: str
    """`dataset@number`."""
    embedding: str
    state: SetState = SetState.LOADING
    part: str = ""
    """The object that they were read from; another one where examples were erased."""
    why: str = ""
    """What is wrong, of one that has failed."""
    used_at: datetime
    check_at: datetime
    """When it is compared with its dataset version the next time."""

    @property
    def scope(self) -> str:
        """What its questions are compared within, at rag."""
        return f"examples/{self.id}"

    def text_id(self, example: str) -> str:
        """Return the id of an example's question at rag."""
        return f"{self.id}/{example}"

    def example_of(self, text_id: str) -> str:
        """Return the example whose question has this id at rag."""
        return text_id.removeprefix(f"{self.id}/")

    @classmethod
    def of(cls, project: str, declared: Examples, *, now: datetime) -> "ExampleSet":
        """Return the set, still to be loaded, that resolved settings choose from."""
        set_id = set_id_of(project, declared)
        return cls(
            id=set_id,
            project=project,
            dataset=declared.dataset,
            embedding=declared.embedding,
            used_at=now,
            check_at=now,
        )

    def ready(self, *, check_at: datetime) -> "ExampleSet":
        """Return it with all of its examples there."""
        return replace(self, state=SetState.READY, why="", check_at=check_at)

    def failed(self, why: str, *, check_at: datetime) -> "ExampleSet":
        """Return it with what is wrong with it."""
        return replace(self, state=SetState.FAILED, why=why, check_at=check_at)


def set_id_of(project: str, declared: Examples) -> str:
    """Return the id of the set that resolved settings choose from."""
    return derived_id(project, "examples", declared.dataset, declared.embedding)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A question with its right answer, whose they are, and who may see them."""

    id: str
    question: str
    answer: str
    author: str = ""
    """The pseudonym of who reacted."""
    asked_by: str = ""
    """The pseudonym of who asked, where that is another person."""
    documents: tuple[str, ...] = ()
    """What the answer rests on."""
    principals: tuple[str, ...] = ()
    """Those that the question was asked with: what they may read may be in the answer."""
    observed_at: datetime

    @property
    def people(self) -> frozenset[str]:
        """The pseudonyms of all whose words it has."""
        return frozenset({self.author, self.asked_by} - {""})

    @property
    def order(self) -> int:
        """Its place among others, by chance."""
        return _number(self.id)

    def may_be_shown_to(self, principals: frozenset[str]) -> bool:
        """Whether who has these principals may read all that the answer can rest on."""
        return principals.issuperset(self.principals)


def start_of(seed: int, question: str) -> int:
    """Return the place from which on examples are chosen by chance."""
    return _number(f"{seed}\n{question}")


def _number(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:_ORDER_DIGITS], 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenExample:
    """An example for one question; `similarity` is 0 where it was chosen by chance."""

    example: Example
    similarity: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownExample:
    """What a record keeps of an example that an answer was given."""

    id: str
    similarity: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownExamples:
    """The examples that an answer was given, in their order; `dataset` is `dataset@number`."""

    dataset: str
    examples: tuple[ShownExample, ...]
