"""Legal holds: what must not be erased, read with the revocations from the same compacted topic."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ValidationError

from tidemill_core.characters import clean_line
from tidemill_core.errors import DependencyUnavailable, PreconditionFailed
from tidemill_kit.access.revocations import Revocations

CHANGED = "tidemill.monitor.access.hold_changed.v1"
_KEY = re.compile(r"hold/(?P<project>[^/]+)/(?P<id>[^/]+)")
_MAX_AGE_S = 30.0
"""How long what is known counts for what cannot be undone, while Kafka does not answer."""


class Scope(StrEnum):
    """What is erased, or must not be."""

    PROJECT = "PROJECT"
    """Everything of a project."""
    END_USER = "END_USER"
    """Everything of one end user of a project."""
    DOCUMENT = "DOCUMENT"
    """One document, and what was derived from its text."""


class LegalHold(PreconditionFailed):
    """The call would destroy what evidence may need."""

    reason = "LEGAL_HOLD"

    def __init__(self, hold: "Hold") -> None:
        super().__init__(f"the legal hold {hold.id} covers this: it stays until the hold is released", hold=hold.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A legal hold of a project, or of one end user or document of it."""

    id: str
    project: str
    end_user: str = ""
    document: str = ""

    @property
    def scope(self) -> Scope:
        """What it is of."""
        return Scope.END_USER if self.end_user else Scope.DOCUMENT if self.document else Scope.PROJECT

    def covers(self, scope: Scope, subject: str) -> bool:
        """Return whether it forbids to erase that: all but another end user or document than the one that is held.

        An erased document takes examples and names out of what its readers asked, and an erased end user what was
        answered from documents: so either waits for a hold of the other.
        """
        return scope is not self.scope or self.scope is Scope.PROJECT or self.names(subject)

    def names(self, subject: str) -> bool:
        """Return whether it is of this end user or document: what is stored of a name is cleaned, so names are too."""
        return clean_line(subject) == clean_line(self.end_user or self.document)


class _Changed(BaseModel, frozen=True):
    """One record's value."""

    id: str
    project: str
    end_user: str = ""
    document: str = ""
    released: bool = False
    seq: int


class Holds:
    """The holds that are known, as long as the topic of `revocations`, which has them too, is read."""

    def __init__(self, revocations: Revocations) -> None:
        self._revocations = revocations
        self._seqs: dict[tuple[str, str], int] = {}
        self._of: dict[str, dict[str, Hold]] = {}
        self._unreadable: dict[tuple[str, str], Hold] = {}

    def apply(self, value: bytes, *, key: str = "") -> bool:
        """Remember a record; return whether it could be read. One that is older than what is known changes nothing.

        One that cannot be read may hold anything: until a readable one has its key, it holds the project that the key
        names.
        """
        try:
            changed = _Changed.model_validate_json(value)
        except ValidationError:
            if named := _KEY.fullmatch(key):
                self._unreadable[named["project"], named["id"]] = Hold(**named.groupdict())
            return False
        self._apply(changed)
        return True

    def _apply(self, changed: _Changed) -> None:
        key = (changed.project, changed.id)
        if changed.seq >= self._seqs.get(key, 0):
            self._unreadable.pop(key, None)
        if changed.seq > self._seqs.get(key, 0):
            self._seqs[key] = changed.seq
            known = self._of.setdefault(changed.project, {})
            known.pop(changed.id, None)
            if not changed.released:
                known[changed.id] = Hold(**changed.model_dump(exclude={"released", "seq"}))

    def _holds_of(self, project: str) -> Iterator[Hold]:
        yield from self._of.get(project, {}).values()
        yield from (each for each in self._unreadable.values() if each.project == project)

    @property
    def current(self) -> bool:
        """Whether the topic was read, and Kafka answered a moment ago: nothing may be erased otherwise."""
        return self._revocations.complete and self._revocations.age_s <= _MAX_AGE_S

    def knows(self, project: str, hold: str) -> bool:
        """Return whether a hold of a project was read, and is not released."""
        return hold in self._of.get(project, {})

    def covers(self, project: str, scope: Scope, subject: str = "") -> Hold | None:
        """Return a hold that forbids to erase that, as far as holds are known."""
        return next((each for each in self._holds_of(project) if each.covers(scope, subject)), None)

    def check(self, project: str, erased: Mapping[Scope, str]) -> None:
        """Let a call pass that erases; `erased` is what its request can name, "" where it leaves that open.

        What names a document deletes its own text only, and what names neither is removed by a sweep, which spares.

        Raises:
            LegalHold: a hold of the project, or one of what it erases or may erase.
            DependencyUnavailable: the holds of now are not known, and an erasure cannot be undone.

        """
        if not self.current:
            message = "the topic of legal holds was not read just now: nothing is erased until Kafka answers"
            raise DependencyUnavailable(message, dependency="kafka")
        for hold in self._holds_of(project):
            if _is_refused(hold, erased):
                raise LegalHold(hold)

    def spares(self, project: str) -> bool:
        """Return whether nothing of a project may be removed by age: something of it is held, or that is not known."""
        return not self.current or self.covers(project, Scope.PROJECT) is not None


def _is_refused(hold: Hold, erased: Mapping[Scope, str]) -> bool:
    if hold.scope is Scope.PROJECT:
        return True
    if hold.scope not in erased:
        return Scope.END_USER in erased
    return not clean_line(erased[hold.scope]) or hold.names(erased[hold.scope])
