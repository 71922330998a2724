"""Records, and where they are kept in memory."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from tidemill_core.application import Page, PageRequest
from tidemill_core.audit import Head
from tidemill_core.errors import DependencyUnavailable
from tidemill_monitor.audit.domain import Anchor, DecisionEvent
from tidemill_monitor.events.monitor import AuditRecorded, RecordedCall
from tidemill_testkit.clocks import NOON


def time_of(minutes: int) -> str:
    return (NOON + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


def recorded(number: int = 1, *, project: str = "acme", **changes: object) -> AuditRecorded:
    given: dict[str, object] = {
        "id": f"call-{number}",
        "project": project,
        "subject": "user:ada",
        "method": "tidemill.ingest.v1.SourceService/CreateSource",
        "resource": "cms",
        "outcome": "AUDIT_OUTCOME_SUCCEEDED",
        "code": "OK",
        "begin_time": time_of(number),
        "end_time": time_of(number),
    }
    return AuditRecorded(record=RecordedCall(**(given | changes)), seq=1)  # type: ignore[arg-type]


def event_of(number: int = 1, *, project: str = "acme", service: str = "ingest", **changes: object) -> DecisionEvent:
    given: dict[str, object] = {"id": f"event-{number}", "subject": "helpdesk", "seq": 3, "data": b"{}"}
    return DecisionEvent(project=project, service=service, **(given | changes))  # type: ignore[arg-type]


class InMemoryAnchors:
    """Implements `ports.Anchors`."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int, str], datetime] = {}
        self.now = NOON
        self.failing: set[str] = set()
        self.failed = 0

    async def put(self, chain: str, head: Head) -> None:
        self._check(chain)
        self.kept.setdefault((chain, head.seq, head.hash), self.now)

    def all(self, chain: str) -> Sequence[Anchor]:
        return [
            Anchor(seq=seq, hash=own, create_time=time)
            for (of, seq, own), time in sorted(self.kept.items())
            if of == chain
        ]

    async def page(self, chain: str, page: PageRequest, *, end: int) -> Page[Anchor]:
        assert end >= 0
        before = [each for each in self.all(chain) if not page.token or each.seq < int(page.token)]
        shown = before[-page.size :]
        return Page(items=shown, next_token=str(shown[0].seq) if len(before) > page.size else "")

    async def newest_before(self, chain: str, time: datetime, *, first: int) -> Anchor | None:
        self._check(chain)
        older = [each for each in self.all(chain) if each.create_time < time and each.seq >= first]
        return older[-1] if older else None

    def _check(self, chain: str) -> None:
        if chain in self.failing:
            self.failed += 1
            message = "the bucket does not answer"
            raise DependencyUnavailable(message, dependency="s3")
