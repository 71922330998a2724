"""What use cases are written against: who calls, which request it is, what time it is, and where aggregates live."""

import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, Protocol, TypeAlias, TypeVar

from tidemill_core.aggregate import Aggregate

MAX_LEEWAY = timedelta(seconds=60)
"""The longest that a credential may be accepted beyond its expiry, for clocks that differ."""
PUBLISHER = "publisher"
"""What `Caller.via` is of a submitted record."""
NAMESPACE = uuid.UUID("6f1c4a0e-3a5b-5d0f-9c55-7a3e0c1d2b60")
"""Root of every derived id of Tidemill; changing it would rename everything that exists."""

A = TypeVar("A", bound=Aggregate)
T = TypeVar("T")


def derived_id(*parts: str) -> str:
    """Return uuid5 of the parts: the same parts always name the same thing (RFC 9562, version 5).

    The parts are length-prefixed, so that ("a", "bc") and ("ab", "c") differ.
    """
    return str(uuid.uuid5(NAMESPACE, "".join(f"{len(part)}:{part}" for part in parts)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, on behalf of which project.

    A person or an account (`user:...`, `service_account:...`), also where a service calls for them, which `via` names.
    """

    project: str
    subject: str = ""
    roles: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    permissions: frozenset[str] = frozenset()
    """RPCs that are allowed beside those of the roles, such as `tidemill.rag.v1.RetrievalService/Search`."""
    scopes: frozenset[str] | None = None
    """The only RPCs that the credential is for; None is no restriction."""
    credential: str = ""
    """The id (`jti`) of the credential."""
    via: str = ""
    """The service whose own credential it is, or whose own work, such as `inference`; of a record, PUBLISHER."""

    @property
    def proven_subject(self) -> str:
        """The subject as an author is recorded; "" where no credential proves it, as of services' own work."""
        return self.subject if self.credential else ""

    @classmethod
    def of_service(cls, project: str, service: str) -> "Caller":
        """Return the caller of what a service does in the background for a project."""
        return cls(project=project, subject=f"tidemill-{service}", via=service)

    @classmethod
    def of_publisher(cls, project: str, source: str) -> "Caller":
        """Return the caller of a submitted record, which its topic or its signature proves."""
        return cls(project=project, subject=source, via=PUBLISHER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One intent of a caller: the same `id` again has no second effect, and must have the same `digest`."""

    id: str
    digest: str
    named: bool = True
    """False where no caller can repeat it: nothing is kept of it."""

    @classmethod
    def of(cls, request_id: str, body: bytes) -> "Request":
        """Return the request of a body; without an id every call is an intent of its own."""
        return cls.digested(request_id, hashlib.sha256(body).hexdigest())

    @classmethod
    def digested(cls, request_id: str, digest: str) -> "Request":
        """Return the request of a body of which the digest is known."""
        return cls(id=request_id or str(uuid.uuid4()), digest=digest, named=bool(request_id))

    @classmethod
    def internal(cls) -> "Request":
        """Return the request of a change that is decided on what is stored, so that repeating it is harmless."""
        return cls(id=str(uuid.uuid4()), digest="", named=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """One page of a list; `next_token` is empty on the last one."""

    items: Sequence[T]
    next_token: str = ""


Where: TypeAlias = Mapping[str, str | None]
"""What a list has to match, by the store's names of fields; None matches documents without the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """Which page is requested: 1 to 1000 items after the opaque token of the page before.

    `where` is the caller's own filter, beside what the use case asks for, by the store's names of fields.
    """

    size: int = 50
    token: str = ""
    newest_first: bool = False
    where: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceKey:
    """Names a resource for background work, which serves all projects."""

    project: str
    id: str

    @property
    def key(self) -> str:
        """The name among the resources of all projects; no part contains a slash."""
        return f"{self.project}/{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeue:
    """Returned by a reconciliation that is to be made again; None in its place says that nothing is left to do."""

    after: timedelta | None = None
    """None: it cannot go on now, and is retried with backoff."""
    keep_lease: bool = False
    """The lease stays held until then, and the next reconciliation has the same epoch."""
    hands_on: bool = False
    """Its place goes to the first of its own project that waits for one, whatever project's turn it is."""


class Clock(Protocol):
    """Reports the time, always in UTC."""

    def now(self) -> datetime:
        """Return the current time."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the current time."""
        return datetime.now(UTC)


class Aggregates(Protocol[A]):
    """Where aggregates of one kind live. Ids are unique within a project."""

    async def get(self, project: str, aggregate_id: str) -> A:
        """Return a copy of the aggregate.

        Raises:
            NotFound: the project has none with this id, or it was deleted.

        """
        ...

    async def get_many(self, project: str, aggregate_ids: Sequence[str]) -> dict[str, A]:
        """Return those that exist and are not deleted, by id."""
        ...

    async def list(
        self, project: str, *, page: PageRequest, where: Where | None = None, show_deleted: bool = False
    ) -> Page[A]:
        """Return a page ordered by (create_time, id), from either end.

        `where` and the page's own filter match fields of the codec's document exactly. A store names the lists that it
        has an index for, and refuses others: a list costs what a page of it costs.

        Raises:
            InvalidInput: the page's size, token or filter is not usable.

        """
        ...

    async def add(self, aggregate: A, *, request: Request) -> A:
        """Save a new aggregate with its pending events, and return it as saved.

        The same request again returns what it made. An id that a tombstone holds is taken up again, counting on.

        Raises:
            AlreadyExists: the id is taken by another request.
            RequestIdReused: this request had another body.

        """
        ...

    async def update(
        self,
        project: str,
        aggregate_id: str,
        change: Callable[[A], None],
        *,
        request: Request,
        known: A | None = None,
    ) -> A:
        """Load, apply `change`, and save state and pending events in one write; return the aggregate as saved.

        `known` is the aggregate as the caller saved it last: it is loaded again only if another caller changed it.

        On a lost race `change` is decided again on fresh state, so it must be a pure function of the aggregate. The
        same request again changes nothing, also where it changed nothing the first time. A change that leaves the
        aggregate as it was is no new version.

        Raises:
            NotFound: the project has none with this id, or it was deleted.
            RequestIdReused: this request had another body.
            Conflict: the race was lost too often.

        """
        ...

    async def upsert(self, fresh: A, change: Callable[[A], None], *, request: Request) -> A:
        """Like `update`, on `fresh` where the aggregate is not there yet; sees tombstones as they are.

        Raises:
            RequestIdReused: this request had another body.
            Conflict: the race was lost too often.

        """
        ...
