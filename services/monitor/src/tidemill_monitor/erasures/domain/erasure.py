"""The erasure of a project, of an end user or of a document, in all services."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256

from tidemill_core.aggregate import Aggregate, Event, ObjectRef
from tidemill_core.application import derived_id

SERVICES = ("evaluator", "feedback", "inference", "ingest", "monitor", "rag", "trainer")
"""Those that report: each has erased what it had, or had nothing."""
HEADWAY = timedelta(seconds=5)
"""So long after the request erasing begins: revocations and holds are known everywhere by then."""


class ErasureScope(StrEnum):
    """What is erased."""

    PROJECT = "project"
    END_USER = "end_user"
    DOCUMENT = "document"


class ErasureState(StrEnum):
    """How far an erasure is. Whether it is held is not stored: that depends on the holds."""

    PENDING = "pending"
    HELD = "held"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is erased: `id` is the end user or the document, and empty for a project."""

    project: str
    scope: ErasureScope
    id: str = ""

    @property
    def digest(self) -> str:
        """The sha256 of `<project>/<id>`, which says of a known one that it was erased."""
        return sha256(f"{self.project}/{self.id}".encode()).hexdigest() if self.id else ""

    def erasure_id(self, number: int) -> str:
        """Return the id of the erasure of this subject that `number` others came before."""
        return derived_id(self.project, "erasure", self.scope, self.id, str(number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many things of a kind were erased."""

    kind: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one service erased."""

    service: str
    counts: tuple[Count, ...]
    start_time: datetime
    complete_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureWasRequested(Event):
    """Every service is to erase what it has of the subject."""

    id: str
    project: str
    scope: ErasureScope
    subject: str
    request_time: datetime
    not_before: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureWasCertified(Event):
    """All services have erased what they had of the subject."""

    id: str
    project: str
    scope: ErasureScope
    subject_digest: str
    certificate_sha256: str
    complete_time: datetime


@dataclass(slots=True, kw_only=True)
class Erasure(Aggregate):
    """Completed when every service has reported, and the certificate of that is stored."""

    scope: ErasureScope
    subject: str = ""
    """The end user or the document. The end user's is gone with the completion, and its digest stays."""
    subject_digest: str = ""
    requester: str = ""
    request_time: datetime
    not_before: datetime
    due_time: datetime
    reports: tuple[Report, ...] = ()
    """By service."""
    complete_time: datetime | None = None
    certificate: ObjectRef | None = None

    @classmethod
    def requested(
        cls, subject: Subject, *, number: int, requester: str, request_time: datetime, due: timedelta
    ) -> "Erasure":
        """Return the erasure, whose request is to be published."""
        erasure = cls(
            id=subject.erasure_id(number),
            project=subject.project,
            scope=subject.scope,
            subject=subject.id,
            subject_digest=subject.digest,
            requester=requester,
            request_time=request_time,
            not_before=request_time + HEADWAY,
            due_time=request_time + due,
        )
        erasure.pending.append(
            ErasureWasRequested(
                occurred_at=request_time,
                id=erasure.id,
                project=erasure.project,
                scope=erasure.scope,
                subject=erasure.subject,
                request_time=request_time,
                not_before=erasure.not_before,
            )
        )
        return erasure

    @property
    def completed(self) -> bool:
        """Whether there is a certificate."""
        return self.certificate is not None

    @property
    def awaited_services(self) -> Sequence[str]:
        """Those that have not reported yet."""
        reported = {each.service for each in self.reports}
        return [each for each in SERVICES if each not in reported]

    @property
    def certifiable(self) -> bool:
        """Whether all have reported, and the certificate is missing."""
        return not self.completed and not self.awaited_services

    @property
    def end_user(self) -> str:
        """The end user, while it is known."""
        return self.subject if self.scope is ErasureScope.END_USER else ""

    @property
    def document(self) -> str:
        """The document that is erased."""
        return self.subject if self.scope is ErasureScope.DOCUMENT else ""

    @property
    def certificate_sha256(self) -> str:
        """The digest of the certificate."""
        return self.certificate.sha256 if self.certificate else ""

    def record(self, report: Report) -> None:
        """Add the report of a service: the first one counts."""
        if report.service in self.awaited_services:
            self.reports = tuple(sorted((*self.reports, report), key=lambda each: each.service))

    def certify(self, certificate: ObjectRef, *, now: datetime) -> None:
        """Complete the erasure; the end user's id goes."""
        if self.completed:
            return
        self.certificate, self.complete_time = certificate, self.last_report_time
        if self.scope is ErasureScope.END_USER:
            self.subject = ""
        self.pending.append(
            ErasureWasCertified(
                occurred_at=now,
                id=self.id,
                project=self.project,
                scope=self.scope,
                subject_digest=self.subject_digest,
                certificate_sha256=certificate.sha256,
                complete_time=self.last_report_time,
            )
        )

    @property
    def last_report_time(self) -> datetime:
        """When the last service had erased what it had: the time of completion, whenever that is recorded."""
        return max(each.complete_time for each in self.reports)
