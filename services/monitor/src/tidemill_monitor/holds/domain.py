"""A legal hold on a project, on an end user or on a document."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.characters import clean_line
from tidemill_core.errors import Violation
from tidemill_core.resources import label_violations, line_violations, refuse, slug_violations
from tidemill_monitor.errors import ReleaseByCreator

MAX_ID = 512
MAX_REASON = 200


class HoldState(StrEnum):
    """Whether a hold holds."""

    ACTIVE = "active"
    RELEASED = "released"


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldChanged(Event):
    """Data is under a legal hold, or no longer."""

    id: str
    project: str
    end_user: str
    document: str
    released: bool

    @property
    def record_key(self) -> str:
        """The latest record of a key says all about its hold, so that the topic can be compacted."""
        return f"hold/{self.project}/{self.id}"


@dataclass(slots=True, kw_only=True)
class Hold(Aggregate):
    """It holds what it names: an end user, a document, or with neither the whole project. A released one stays."""

    end_user: str = ""
    document: str = ""
    reason: str = ""
    creator: str = ""
    state: HoldState = HoldState.ACTIVE
    releaser: str = ""
    release_time: datetime | None = None

    def check(self) -> None:
        """Validate what a user decides.

        Raises:
            InvalidInput: naming every field that breaks its rule.

        """
        refuse(self._violations())

    def _violations(self) -> Iterator[Violation]:
        yield from slug_violations("hold.id", self.id)
        yield from label_violations("hold.labels", self.labels)
        if self.end_user and self.document:
            yield Violation("hold.end_user", "and hold.document are both set: create a hold for each")
        for field, value in (("hold.end_user", self.end_user), ("hold.document", self.document)):
            yield from line_violations(field, value, limit=MAX_ID)
        if not 1 <= len(self.reason) <= MAX_REASON or clean_line(self.reason) != self.reason:
            text = (
                f"has {len(self.reason)} characters: send a reference for people, such as the number of a case, of 1 "
                f"to {MAX_REASON} characters on one line"
            )
            yield Violation("hold.reason", text)

    def covers(self, *, end_user: str, document: str) -> bool:
        """Return whether it forbids to erase this end user, or this document; with neither, the whole project.

        As services do: all but the erasure of another end user or document than the one that is held. One of an end
        user may take what a held document was used for, and the other way round.
        """
        if self.state is HoldState.RELEASED:
            return False
        if end_user and self.end_user:
            return clean_line(end_user) == clean_line(self.end_user)
        if document and self.document:
            return clean_line(document) == clean_line(self.document)
        return True

    @property
    def says_something(self) -> bool:
        """Whether it says whom or what it is about, or why."""
        return bool(self.end_user or self.document or self.reason or self.labels)

    def begin(self, *, now: datetime) -> None:
        """Have the services know."""
        self._record(now=now)

    def release(self, by: str, *, any_person: bool, now: datetime) -> None:
        """End the hold; ending it again changes nothing.

        Raises:
            ReleaseByCreator: the one who created it may not end it; `any_person` may.

        """
        if self.state is HoldState.RELEASED:
            return
        if by == self.creator and not any_person:
            raise ReleaseByCreator(self.id)
        self.state, self.releaser, self.release_time = HoldState.RELEASED, by, now
        self._record(now=now)

    def forget(self, *, now: datetime) -> None:
        """Remove whom and what a released hold was about, also from the topic, where the latest record stays."""
        self.end_user = self.document = self.reason = ""
        self.labels = {}
        self._record(now=now)

    def _record(self, *, now: datetime) -> None:
        self.pending.append(
            HoldChanged(
                occurred_at=now,
                id=self.id,
                project=self.project,
                end_user=self.end_user,
                document=self.document,
                released=self.state is HoldState.RELEASED,
            )
        )
