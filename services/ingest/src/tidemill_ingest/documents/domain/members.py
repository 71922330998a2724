"""What a document carries: files inside of it that are documents of their own."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from tidemill_ingest.members import Allowance, PlannedMember

GONE = "MEMBER_GONE"
FAILED = "PROCESSING_FAILED"
ERASED = "ERASED"
DELETED = "MEMBER_DELETED"
_AGAIN = frozenset((GONE, FAILED))
"""Reasons for which the same content once more is read again."""
_MAX_SUPERSEDED = 20
"""Objects in quarantine that are remembered to be deleted; the sweep deletes others."""


class MemberState(Enum):
    """What became of a member."""

    PENDING = "pending"
    STORED = "stored"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file inside of a document's current version."""

    path: str
    media_type: str
    size: int
    state: MemberState = MemberState.PENDING
    reason: str = ""
    message: str = ""
    attempts: int = 0
    """How often processing it broke."""

    def stored(self) -> "Member":
        """Return it as a document that has a version."""
        return replace(self, state=MemberState.STORED, reason="", message="")

    def refused(self, reason: str, message: str) -> "Member":
        """Return it as one that is not taken, and why."""
        return replace(self, state=MemberState.REFUSED, reason=reason, message=message)

    def failed(self, *, max_attempts: int) -> "Member":
        """Return it after its processing broke: it is tried again, but not for ever."""
        again = replace(self, attempts=self.attempts + 1)
        if again.attempts < max_attempts:
            return again
        return again.refused(FAILED, f"was not read in {max_attempts} attempts: send the whole file again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """The document that a member is in, for the document that the member becomes."""

    document: str
    writer: str
    allowance: Allowance


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFile:
    """A file with members: where its bytes are until they are read, and what they may unpack to."""

    object_key: str
    media_type: str
    allowance: Allowance | None = None
    """None: all that the limits allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The members of a document's current version, and what is still to be done about them.

    It is saved with the version, before any member becomes a document, so that a worker finds what is to be done
    whenever one is killed.
    """

    version: int = 0
    """The number of the document's version that says it."""
    generation: int = 0
    """Counts what was said: a worker changes nothing that was said since it began."""
    members: tuple[Member, ...] = ()
    leaving: tuple[str, ...] = ()
    """Paths of members of earlier versions, whose documents are to be deleted."""
    held: HeldFile | None = None
    superseded: tuple[str, ...] = ()
    """Objects in quarantine that are not needed any more."""
    started: bool = False
    """Whether members may have become documents; before, a new version need not delete them."""
    erase_up_to: int = 0
    """The texts that members had up to this version are to be erased; 0 erases none."""
    pending: bool = False

    @property
    def is_incomplete(self) -> bool:
        """Return whether a member is missing that the same content, sent again, would bring."""
        return any(member.reason in _AGAIN for member in self.members)

    @property
    def to_read(self) -> Sequence[Member]:
        """The members that are still to become documents."""
        return [member for member in self.members if member.state is MemberState.PENDING]

    def replaced(self, version: int, planned: Sequence[PlannedMember], held: HeldFile | None) -> "Contents":
        """Return what is to be done when a new version has these members."""
        if self == Contents() and not planned:
            return self
        members = tuple(
            Member(path=each.path, media_type=each.media_type, size=each.size, reason=each.reason, message=each.message)
            for each in planned
        )
        return Contents(
            version=version,
            generation=self.generation + 1,
            members=members,
            leaving=self._leaving(but={each.path for each in members}),
            held=held if members else None,
            superseded=self._superseded(),
            started=self.started,  # what an earlier version made of the same paths is there, until a worker begins
            erase_up_to=self.erase_up_to,
            pending=True,
        )

    def emptied(self, version: int, *, erase: bool) -> "Contents":
        """Return what is to be done when the document is deleted, or erased once it is deleted."""
        if self == Contents():
            return self
        return Contents(
            version=version,
            generation=self.generation + 1,
            leaving=self._leaving(),
            superseded=self._superseded(),
            erase_up_to=version if erase else self.erase_up_to,
            pending=True,
        )

    def erased(self, up_to: int) -> "Contents":
        """Return what is to be done when earlier versions of the document are erased."""
        if self == Contents() or not up_to:
            return self
        return replace(self, generation=self.generation + 1, erase_up_to=max(up_to, self.erase_up_to), pending=True)

    def begun(self) -> "Contents":
        """Return it as a worker begins."""
        return replace(self, started=True)

    def with_outcomes(self, outcomes: Mapping[str, Member]) -> "Contents":
        """Return it once some members were read."""
        return replace(self, members=tuple(outcomes.get(each.path, each) for each in self.members))

    def without_leaving(self) -> "Contents":
        """Return it once the members that left are deleted."""
        return replace(self, leaving=())

    def finished(self) -> "Contents":
        """Return it once all is done: what stays is which members there are."""
        return replace(self, leaving=(), held=None, superseded=(), erase_up_to=0, pending=False)

    def _leaving(self, *, but: Collection[str] = ()) -> tuple[str, ...]:
        may_exist = [*self.leaving, *(each.path for each in self.members if self.started)]
        return tuple(path for path in dict.fromkeys(may_exist) if path not in but)

    def _superseded(self) -> tuple[str, ...]:
        held = (self.held.object_key,) if self.held else ()
        return (*self.superseded, *held)[-_MAX_SUPERSEDED:]
