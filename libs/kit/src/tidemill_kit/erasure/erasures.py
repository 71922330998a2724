"""A service's own record of each erasure: how far it is, and what the report will say."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.errors import NotFound
from tidemill_kit.access.holds import Scope
from tidemill_kit.erasure.steps import Target
from tidemill_kit.workers.leases import LeaseLost

REQUESTS = "tidemill.monitor.erasure.v1"
"""The topic of erasures that are requested."""
REPORTS = "tidemill.monitor.erasure_report.v1"
"""The topic of what services report of them."""
COLLECTION = "erasures"
LEASES = "erasure_leases"


class ErasureNotFound(NotFound):
    """There is no such erasure."""

    reason = "ERASURE_NOT_FOUND"

    def __init__(self, erasure_id: str) -> None:
        super().__init__(f"there is no erasure {erasure_id}", id=erasure_id)


class State(StrEnum):
    """How far a service is."""

    PENDING = "PENDING"
    HELD = "HELD"
    """A legal hold covers it: nothing is erased until that is released."""
    COMPLETED = "COMPLETED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed(Event):
    """Nothing is left of the subject."""


@dataclass(slots=True, kw_only=True)
class Erasure(Aggregate):
    """One erasure in one service. Its id is the one that monitor gave it."""

    scope: Scope
    subject: str = ""
    """Of a completed erasure of an end user: the digest of the id, which is erased as well."""
    request_time: datetime
    not_before: datetime
    """Nothing is erased earlier; moved on while it is awaited that nothing comes any more."""
    state: State = State.PENDING
    counts: dict[str, int] = field(default_factory=dict)
    start_time: datetime | None = None
    complete_time: datetime | None = None
    passed: bool = False
    """Whether all steps were done once: they are done again, later. Of a project they must find nothing then."""
    epoch: int = 0
    """The lease under which it was changed last."""

    @property
    def target(self) -> Target:
        """What is erased."""
        return Target(project=self.project, scope=self.scope, subject=self.subject)

    def begin(self, *, now: datetime, epoch: int) -> None:
        """Go on, under the lease of this epoch.

        Of a project what is begun counts as the first time until its end is reached: what a killed process erased is
        not known, and nothing may be found once everything was done.

        Raises:
            LeaseLost: another process goes on with it, or has completed it.

        """
        self._claim(epoch)
        self.state = State.PENDING
        if self.scope is Scope.PROJECT:
            self.passed = False
        self.start_time = self.start_time or now

    def hold(self, *, epoch: int) -> None:
        """Wait for the release of a legal hold; then all steps are done twice.

        Raises:
            LeaseLost: another process goes on with it, or has completed it.

        """
        self._claim(epoch)
        self.state, self.passed = State.HELD, False

    def count(self, kind: str, erased: int, *, epoch: int) -> None:
        """Add what a batch erased.

        Raises:
            LeaseLost: another process goes on with it, or has completed it.

        """
        self._check(epoch)
        self.counts[kind] = self.counts.get(kind, 0) + erased

    def again(self, *, not_before: datetime, epoch: int) -> None:
        """Record that all steps were done, and have them repeated: what ran meanwhile may have written.

        Raises:
            LeaseLost: another process goes on with it, or has completed it.

        """
        self._check(epoch)
        self.passed, self.not_before = True, not_before

    def complete(self, *, now: datetime, epoch: int) -> None:
        """Record that everything was done, which is reported.

        Raises:
            LeaseLost: another process goes on with it, or has completed it.

        """
        self._check(epoch)
        self.state, self.complete_time = State.COMPLETED, now
        if self.scope is Scope.END_USER:
            self.subject = digest_of_subject(self.target)
        self.pending.append(Completed(occurred_at=now))

    def _claim(self, epoch: int) -> None:
        if self.epoch > epoch or self.state is State.COMPLETED:
            raise LeaseLost(self.id)
        self.epoch = epoch

    def _check(self, epoch: int) -> None:
        if self.epoch != epoch or self.state is State.COMPLETED:
            raise LeaseLost(self.id)


def digest_of_subject(target: Target) -> str:
    """Return what stands for the subject of a completed erasure: the sha256 of `<project>/<subject>`, in hex."""
    return hashlib.sha256(f"{target.project}/{target.subject}".encode()).hexdigest()
