"""Ports of suites."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Aggregates, Caller
from tidemill_evaluator.suites.domain.cases import Case, CaseSet, DocumentVersion
from tidemill_evaluator.suites.domain.shipped import ShippedSuite
from tidemill_evaluator.suites.domain.suite import Suite

R = TypeVar("R")
Restricted = Callable[[Caller, Sequence[DocumentVersion]], Awaitable[frozenset[DocumentVersion]]]
"""Returns which of these document versions the caller may not read; raises DependencyUnavailable."""
Suites = Aggregates[Suite]
GatesOfSuite = Callable[[Caller, str], Awaitable[Sequence[str]]]
"""Returns the names of the gates that require a suite."""


class ShippedSuites(Protocol):
    """The suites that are part of this release."""

    async def all(self, caller: Caller) -> Sequence[ShippedSuite]:
        """Return them by name; the same to every caller."""
        ...


class Processes(Protocol):
    """Runs work on what a project chose, bounded in processor, memory and time."""

    async def run(self, project: str, work: Callable[..., R], *arguments: object) -> R:
        """Return what a function of a module returns; see `BoundedProcesses.run`."""
        ...


class Schemas(Protocol):
    """Checks JSON Schemas of cases."""

    async def wrong_with(self, caller: Caller, schemas: Sequence[str]) -> Sequence[str]:
        """Return what is wrong with each as a JSON Schema (draft 2020-12), "" where nothing is.

        Raises:
            RateLimited: too many checks of the project wait already.
            DependencyUnavailable: the machine ended the check.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """An object with cases of end users or of documents, as one version of a suite."""

    project: str
    suite: str
    content: ObjectRef
    size: int
    """Number of cases."""


class CaseOrigins(Protocol):
    """Names the objects that have cases of an end user or of a document, so that an erasure finds all versions."""

    async def keep(self, project: str, suite: str, content: ObjectRef, cases: Sequence[Case]) -> None:
        """Record whose cases an object has, before it is stored; nothing where it has only cases that were sent."""
        ...

    async def of_user(self, project: str, end_user: str) -> Sequence[Origin]:
        """Return some of the objects with cases that an end user asked or corrected."""
        ...

    async def of_document(self, document: str) -> Sequence[Origin]:
        """Return some of the objects with cases that rest on a document."""
        ...

    async def forget(self, origin: Origin) -> None:
        """Remove one, whose object is gone."""
        ...


class Cases(Protocol):
    """Stores the cases of suites as immutable objects, and reads sets of cases."""

    async def put(self, project: str, suite: str, cases: Sequence[Case]) -> ObjectRef:
        """Store the cases; idempotent."""
        ...

    async def remove(self, content: ObjectRef) -> None:
        """Remove the cases of one version of a suite; idempotent."""
        ...

    async def read(self, project: str, case_set: CaseSet) -> Sequence[Case]:
        """Return the cases in order; a sample is deterministic.

        Raises:
            CasesErased: an erasure has written what it leaves of them as another object.
            ObjectDamaged, PermissionDenied: the reference is not to be trusted.
            InvalidInput: they are too many bytes, or no cases.

        """
        ...
