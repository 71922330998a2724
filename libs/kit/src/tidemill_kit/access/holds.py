"""Legal holds: what must not be erased, read with the revocations from the same compacted topic."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ValidationError

from tidemill_core.errors import PreconditionFailed
from tidemill_kit.access.revocations import Revocations

CHANGED = "tidemill.monitor.access.hold_changed.v1"
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

    def covers(self, scope: Scope, subject: str) -> bool:
        """Return whether it forbids to erase that: a project only as a whole, and all in a project that is held."""
        if scope is Scope.PROJECT or not (self.end_user or self.document):
            return True
        return subject == (self.end_user if scope is Scope.END_USER else self.document)


class _Changed(BaseModel, frozen=True):
    """One record's value."""

    id: str
    project: str
    end_user: str = ""
    document: str = ""
    released: bool = False
    seq: int


class Holds:
    """The holds that are known. Without `revocations` the topic is never read, and none is ever known."""

    def __init__(self, revocations: Revocations) -> None:
        self._revocations = revocations
        self._seqs: dict[tuple[str, str], int] = {}
        self._of: dict[str, dict[str, Hold]] = {}

    def apply(self, value: bytes) -> bool:
        """Remember a record; return whether it could be read. One that is older than what is known changes nothing."""
        try:
            changed = _Changed.model_validate_json(value)
        except ValidationError:
            return False
        key = (changed.project, changed.id)
        if changed.seq > self._seqs.get(key, 0):
            self._seqs[key] = changed.seq
            known = self._of.setdefault(changed.project, {})
            known.pop(changed.id, None)
            if not changed.released:
                known[changed.id] = Hold(**changed.model_dump(exclude={"released", "seq"}))
        return True

    @property
    def current(self) -> bool:
        """Whether the topic was read, and Kafka answered a moment ago: nothing may be erased otherwise."""
        return self._revocations.complete and self._revocations.age_s <= _MAX_AGE_S

    def covers(self, project: str, scope: Scope, subject: str = "") -> Hold | None:
        """Return a hold that forbids to erase that, as far as holds are known."""
        return next((each for each in self._of.get(project, {}).values() if each.covers(scope, subject)), None)

    def check(self, project: str, erased: Mapping[Scope, str]) -> None:
        """Let a call pass that erases; `erased` is what its request can name, "" where it leaves that open.

        Raises:
            LegalHold: a hold of the project, or one of what it erases or may erase.

        """
        for hold in self._of.get(project, {}).values():
            subjects = {Scope.END_USER: hold.end_user, Scope.DOCUMENT: hold.document}
            named = [scope for scope, subject in subjects.items() if subject]
            if not named or any(scope in erased and erased[scope] in ("", subjects[scope]) for scope in named):
                raise LegalHold(hold)

    def spares(self, project: str) -> bool:
        """Return whether nothing of a project may be removed by age: something of it is held, or that is not known."""
        return not self.current or self.covers(project, Scope.PROJECT) is not None
