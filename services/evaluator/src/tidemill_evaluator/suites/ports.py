"""Ports of suites."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Aggregates, Caller
from tidemill_evaluator.suites.domain.cases import Case, CaseSet
from tidemill_evaluator.suites.domain.shipped import ShippedSuite
from tidemill_evaluator.suites.domain.suite import Suite

Suites = Aggregates[Suite]
GatesOfSuite = Callable[[Caller, str], Awaitable[Sequence[str]]]
"""Returns the names of the gates that require a suite."""


class ShippedSuites(Protocol):
    """The suites that are part of this release."""

    async def all(self, caller: Caller) -> Sequence[ShippedSuite]:
        """Return them by name; the same to every caller."""
        ...


class Cases(Protocol):
    """Stores the cases of suites as immutable objects, and reads sets of cases."""

    async def put(self, project: str, suite: str, cases: Sequence[Case]) -> ObjectRef:
        """Store the cases; idempotent."""
        ...

    async def read(self, project: str, case_set: CaseSet) -> Sequence[Case]:
        """Return the cases in order; a sample is deterministic.

        Raises:
            CasesErased: they are held-out cases, and their split is another one by now.
            ObjectMissing: they were lost.
            ObjectDamaged, PermissionDenied: the reference is not to be trusted.
            InvalidInput: they are too many bytes, or no cases.

        """
        ...
