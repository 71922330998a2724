"""Where documents come from, the rules for what comes from there, and which source a ce_source belongs to."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tidemill_core.aggregate import Aggregate
from tidemill_core.errors import Violation
from tidemill_core.resources import label_violations, refuse, slug_violations
from tidemill_ingest.errors import EventSourceTaken
from tidemill_ingest.limits import MAX_LABELS
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.polling.domain.origin import Polling
from tidemill_ingest.quality.policy import Quality

GRACE = timedelta(minutes=1)
"""A binding is made before its source is saved; younger than this it holds even if no source shows it yet."""
_NO_NAMES = (
    "names of persons, places and organisations are not masked: register a token classification model and name it in "
    "masking.model"
)
MAX_EVENTS_LENGTH = 512
MAX_RETENTION_DAYS = 36_500


@dataclass(slots=True, kw_only=True)
class Source(Aggregate):
    """A declared origin; `events` is the ce_source that belongs to it, empty where it sends none."""

    events: str = ""
    masking: Masking = field(default_factory=Masking)
    retention_days: int = 0
    """How long a superseded version is kept; 0 keeps it for ever."""
    quality: Quality = field(default_factory=Quality)
    """What is withheld."""
    quality_changed: bool = False
    """Whether what is withheld is still to be decided again, by other rules."""
    polling: Polling | None = None
    """Where documents are fetched from; None where they are sent."""
    polling_changed: bool = False
    """Whether the controller of polls has still to see what is declared."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the source's owner should know of what it masks."""
        if not self.masking.kinds:
            return ("nothing is masked: what documents hold of people is stored as it is",)
        if self.masking.model:
            return ()
        return (_NO_NAMES,)

    def check(self) -> None:
        """Refuse what breaks a rule.

        Raises:
            InvalidInput: naming every field that does.

        """
        refuse(self._violations())

    def _violations(self) -> Iterator[Violation]:
        yield from slug_violations("source.id", self.id)
        yield from label_violations("source.labels", self.labels, max_labels=MAX_LABELS)
        if len(self.events) > MAX_EVENTS_LENGTH:
            yield Violation("source.events", f"has {len(self.events)} characters, and {MAX_EVENTS_LENGTH} is the limit")
        if any(character.isspace() or not character.isprintable() for character in self.events):
            yield Violation("source.events", "is a URI, so it has no spaces or control characters")
        if not 0 <= self.retention_days <= MAX_RETENTION_DAYS:
            text = f"is {self.retention_days}; send 0 (for ever) to {MAX_RETENTION_DAYS}"
            yield Violation("source.retention_days", text)
        yield from self.quality.violations()
        if self.polling is not None:
            yield from self.polling.violations()


@dataclass(slots=True, kw_only=True)
class EventBinding(Aggregate):
    """Which source of a project a ce_source belongs to: one at most.

    Its id is derived from project and ce_source, so that there is only one, found without a search.
    """

    events: str
    source_id: str = ""
    bound_at: datetime | None = None

    def bind(self, source_id: str, *, now: datetime, in_use: bool) -> None:
        """Give the events to a source. `in_use`: the source that has them now still shows them.

        Raises:
            EventSourceTaken: another source has them.

        """
        within_grace = self.bound_at is not None and now - self.bound_at < GRACE
        if self.source_id not in ("", source_id) and (in_use or within_grace):
            raise EventSourceTaken(self.events, source_id=self.source_id)
        self.source_id, self.bound_at = source_id, now

    def release(self, source_id: str) -> None:
        """Take the events from a source that no longer needs them."""
        if self.source_id == source_id:
            self.source_id, self.bound_at = "", None
