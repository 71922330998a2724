"""What is remembered of an end user: facts that they stated themselves, which they can correct and erase."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tidemill_core.aggregate import Aggregate
from tidemill_core.application import derived_id
from tidemill_core.characters import clean_line
from tidemill_core.errors import InvalidInput
from tidemill_inference.conversations.domain.errors import MemoryNotFound

_REMEMBERED_TURNS = 100
"""Turns of which it is known that their facts are here, so that a turn that is searched again has no second effect."""


def memory_id(project: str, end_user: str) -> str:
    """Return the id of what is remembered of an end user."""
    return derived_id(project, "memory", end_user)


def memory_of_fact(fact: str) -> str:
    """Return the id of the memory that a fact belongs to."""
    return fact.rpartition("-")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One line, as the question `inference` stated it; that one's answer was given `documents`."""

    id: str
    deployment: str
    text: str
    inference: str
    create_time: datetime
    update_time: datetime
    documents: tuple[str, ...] = ()
    revision: int = 0
    corrected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a question states: lines, by a question that came at `ask_time`."""

    texts: Sequence[str]
    deployment: str
    inference: str
    ask_time: datetime
    documents: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class EndUserMemory(Aggregate):
    """All facts of one end user; `count` numbers them.

    `erase_time` is that of its last erasure: what was asked before is not remembered again.
    """

    end_user: str
    facts: tuple[Fact, ...] = ()
    count: int = 0
    learned: tuple[str, ...] = ()
    erase_time: datetime | None = None

    def of(self, deployment: str) -> tuple[Fact, ...]:
        """Return the facts that answers of a deployment see."""
        return tuple(fact for fact in self.facts if fact.deployment == deployment)

    def learn(self, stated: Statement, *, end_user: str, max_facts: int, now: datetime) -> None:
        """Remember what a question states, once; beyond `max_facts` the oldest go that were not corrected."""
        if stated.inference in self.learned or (self.erase_time is not None and stated.ask_time <= self.erase_time):
            return
        self.deleted, self.end_user = False, end_user
        self.learned = (*self.learned, stated.inference)[-_REMEMBERED_TURNS:]
        known = {fact.text.casefold() for fact in self.of(stated.deployment)}
        for text in stated.texts:
            if text.casefold() in known:
                continue
            known.add(text.casefold())
            self.count += 1
            fact = Fact(
                id=f"{self.id}-{self.count}",
                deployment=stated.deployment,
                text=text,
                inference=stated.inference,
                documents=stated.documents,
                create_time=now,
                update_time=now,
            )
            self.facts = (*self.facts, fact)
        self._keep(stated.deployment, max_facts)

    def correct(self, fact_id: str, text: str, *, max_characters: int, now: datetime) -> None:
        """Change what a fact says.

        Raises:
            MemoryNotFound: there is none with this id.
            InvalidInput: the text is empty, or too long.

        """
        line = clean_line(text)
        if not 0 < len(line) <= max_characters:
            why = f"has {len(line)} characters; use one line of 1 to {max_characters}"
            raise InvalidInput.at(field="memory.text", text=why)
        old = self.fact(fact_id)
        new = replace(old, text=line, corrected=True, revision=old.revision + 1, update_time=now)
        self.facts = tuple(new if each is old else each for each in self.facts)

    def remove(self, fact_id: str) -> None:
        """Forget a fact.

        Raises:
            MemoryNotFound: there is none with this id.

        """
        old = self.fact(fact_id)
        self.facts = tuple(each for each in self.facts if each is not old)

    def fact(self, fact_id: str) -> Fact:
        """Return a fact.

        Raises:
            MemoryNotFound: there is none with this id.

        """
        for each in self.facts:
            if each.id == fact_id:
                return each
        raise MemoryNotFound(fact_id)

    def forget(self, *, now: datetime) -> None:
        """Erase it; the tombstone says until when."""
        self.end_user, self.facts, self.learned, self.erase_time, self.deleted = "", (), (), now, True

    def forget_document(self, document: str) -> None:
        """Erase the facts of turns whose answers were given a document."""
        self.facts = tuple(each for each in self.facts if document not in each.documents)

    def forget_before(self, before: datetime, *, deployment: str = "") -> None:
        """Erase the facts that did not change since, of one deployment or of all."""
        self.facts = tuple(
            fact for fact in self.facts if fact.update_time >= before or (deployment and fact.deployment != deployment)
        )

    def _keep(self, deployment: str, max_facts: int) -> None:
        mine = self.of(deployment)
        loose = [fact.id for fact in mine if not fact.corrected]
        gone = set(loose[: max(0, len(mine) - max_facts)])
        self.facts = tuple(fact for fact in self.facts if fact.id not in gone)
