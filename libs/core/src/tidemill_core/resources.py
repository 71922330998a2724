"""What declared resources have in common: ids, labels, etags, and how they are created, updated and deleted.

A use case of a resource says what is particular about it and leaves the rest to `create`, `update` and `delete`:

    async def update(self, caller: Caller, given: Gate, fields: frozenset[str], write: Write) -> Gate:
        def change(gate: Gate) -> None:
            copy_fields(given, gate, fields)
            gate.check(self.limits)

        return await update(self.gates, caller.project, given.id, change, write)
"""

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import TypeVar

from tidemill_core.aggregate import Aggregate
from tidemill_core.application import Aggregates, PageRequest, Request, Where
from tidemill_core.characters import clean_line
from tidemill_core.errors import AlreadyExists, Conflict, InvalidInput, NotFound, Violation
from tidemill_core.paging import MAX_PAGE_SIZE

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
SLUG_FORM = "1 to 63 of a-z, 0-9, _ and -, starting and ending with a letter or digit"
MAX_REQUEST_ID = 128
MAX_LABELS = 32
MAX_LABEL_LENGTH = 256
_QUOTED = 80

A = TypeVar("A", bound=Aggregate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """How a caller asks for one change: in which request, on which revision, and whether only to see what it would be.

    `etag` "" takes any revision.
    """

    request: Request
    etag: str = ""
    validate_only: bool = False


def slug_violations(field: str, value: str) -> Iterator[Violation]:
    """Yield what is wrong with an id that a caller chose."""
    if not SLUG.fullmatch(value):
        yield Violation(field, f"is {value[:_QUOTED]!r}; use {SLUG_FORM}")


def name_violations(field: str, value: str) -> Iterator[Violation]:
    """Yield what is wrong with the name of a resource that another project may share: `id`, or `project/id`."""
    if not all(SLUG.fullmatch(part) for part in value.split("/", 1)):
        yield Violation(field, f"is {value[:_QUOTED]!r}; use an id, or project/id of what another project shares")


def line_violations(field: str, value: str, *, limit: int) -> Iterator[Violation]:
    """Yield what is wrong with an id that services compare as they store it, which is cleaned."""
    if len(value) > limit:
        yield Violation(field, f"has {len(value)} characters, and {limit} is the limit")
    elif clean_line(value) != value:
        yield Violation(
            field, "has white space around it, or characters that are not seen: services store it without them"
        )


ResolveShared = Callable[[str, str], tuple[str, str] | None]
"""Returns project and id of the resource that a project names; None of another one's that is not shared with it."""


def nothing_shared(project: str, name: str) -> tuple[str, str] | None:
    """Find what is one's own: a `ResolveShared`."""
    return None if "/" in name else (project, name)


def owner_of(name: str, project: str) -> str:
    """Return the project that owns what `project` names: `project/id`, or an id of its own."""
    owner, slash, _ = name.partition("/")
    return owner if slash else project


def check_slug(field: str, value: str) -> None:
    """Refuse an id that is no slug.

    Raises:
        InvalidInput: names field, value and rule.

    """
    refuse(slug_violations(field, value))


def label_violations(
    field: str, labels: Mapping[str, str], *, max_labels: int = MAX_LABELS, max_length: int = MAX_LABEL_LENGTH
) -> Iterator[Violation]:
    """Yield what is wrong with the labels in `field`."""
    if len(labels) > max_labels:
        yield Violation(field, f"has {len(labels)} entries, and {max_labels} is the limit")
    for key, value in labels.items():
        if not key or max(len(key), len(value)) > max_length:
            text = f"needs a key, and at most {max_length} characters in key and value"
            yield Violation(f"{field}[{key[:40]}]", text)


def check_labels(field: str, labels: Mapping[str, str]) -> None:
    """Refuse labels that are too many or too long.

    Raises:
        InvalidInput: names field, number or length, and limit.

    """
    refuse(label_violations(field, labels))


def check_request_id(request_id: str, *, field: str = "request_id") -> None:
    """Refuse a request id that is too long.

    Raises:
        InvalidInput: names field, length and limit.

    """
    if len(request_id) > MAX_REQUEST_ID:
        text = f"has {len(request_id)} characters; the limit is {MAX_REQUEST_ID}: send a shorter one"
        raise InvalidInput.at(field=field, text=text)


def refuse(violations: Iterator[Violation]) -> None:
    """Raise all violations as one error, if there are any.

    Raises:
        InvalidInput: names them all.

    """
    if found := tuple(violations):
        raise InvalidInput.of(*found)


def etag_of(version: int) -> str:
    """Return the etag of a saved version."""
    return str(version)


def check_etag(given: str, version: int, *, changed: type[Conflict] = Conflict) -> None:
    """Refuse a change that was decided on another version; "" was decided on none.

    Raises:
        Conflict: as `changed`; the resource has changed since.

    """
    if given and given != etag_of(version):
        message = f"it changed since etag {given[:_QUOTED]}: read it again, then repeat the change"
        raise changed(message, etag=etag_of(version))


def fields_of(resource: type[Aggregate]) -> frozenset[str]:
    """Return the fields that an update of a declared resource may name: its own, and its labels."""
    return frozenset({each.name for each in fields(resource)} - {each.name for each in fields(Aggregate)} | {"labels"})


def copy_fields(given: object, onto: object, fields: AbstractSet[str]) -> None:
    """Set the fields that an update names to the values in `given`; other fields stay."""
    for name in fields:
        setattr(onto, name, deepcopy(getattr(given, name)))


async def list_all(
    resources: Aggregates[A], project: str, *, where: Where | None = None, show_deleted: bool = False
) -> AsyncIterator[A]:
    """Yield all resources of a project that match `where`, page by page."""
    token = ""
    while True:
        request = PageRequest(size=MAX_PAGE_SIZE, token=token)
        page = await resources.list(project, page=request, where=where, show_deleted=show_deleted)
        for each in page.items:
            yield each
        if not (token := page.next_token):
            return


async def create(resources: Aggregates[A], fresh: A, write: Write, *, begin: Callable[[A], None] | None = None) -> A:
    """Return the resource as created, or as it would be; the id of a deleted one may be taken again.

    `begin` is for what goes on from the deleted one, such as numbers of versions: it gets that, or `fresh`, or the one
    that exists, which it refuses.

    Raises:
        AlreadyExists: the id is taken.

    """
    if not write.validate_only:
        if begin is None:
            return await resources.add(fresh, request=write.request)
        return await resources.upsert(fresh, begin, request=write.request)
    existing = (await resources.get_many(fresh.project, [fresh.id])).get(fresh.id)
    if existing is not None and begin is None:
        raise _exists(fresh.id)
    preview = existing or deepcopy(fresh)
    if begin is not None:
        begin(preview)
    return preview


async def repeated(resources: Aggregates[A], project: str, resource_id: str, request: Request) -> A | None:
    """Return what this request created before, whose id derives from it, or None.

    So a repeated request is answered also where it could not be accepted now: what it refers to has changed or is gone.
    """
    try:
        return await resources.update(project, resource_id, lambda _: None, request=request)
    except NotFound:
        return None


class _NotApplied(Exception):
    """The request has not changed the aggregate."""


async def applied(resources: Aggregates[A], project: str, resource_id: str, request: Request) -> A | None:
    """Return the resource where it was this request that created or changed it, else None; nothing is changed.

    So a repeated request is answered as `repeated` does it, where what it names was chosen by the caller.

    Raises:
        RequestIdReused: this request had another body.

    """

    def refuse_change(_: A) -> None:
        raise _NotApplied

    if not request.named:
        return None
    try:
        return await resources.update(project, resource_id, refuse_change, request=request)
    except (NotFound, _NotApplied):
        return None


def restored(fresh: A, fields: AbstractSet[str]) -> Callable[[A], None]:
    """Return a `begin` of `create`: a deleted resource comes back with these fields of `fresh`, and keeps its others.

    It raises AlreadyExists where the resource is not deleted.
    """

    def begin(stored: A) -> None:
        if stored.version and not stored.deleted:
            raise _exists(stored.id)
        copy_fields(fresh, stored, fields)
        stored.deleted = False

    return begin


def _exists(resource_id: str) -> AlreadyExists:
    return AlreadyExists(f"{resource_id} exists already: choose another id", id=resource_id)


async def update(  # noqa: PLR0913 - what is changed, and how
    resources: Aggregates[A],
    project: str,
    resource_id: str,
    change: Callable[[A], None],
    write: Write,
    *,
    changed: type[Conflict] = Conflict,
) -> A:
    """Return the resource as changed, or as it would be; `changed` has the reason of a conflict of etags.

    Raises:
        NotFound: there is none.
        Conflict: it changed since the etag, or the race was lost too often.

    """

    def checked(resource: A) -> None:
        check_etag(write.etag, resource.version, changed=changed)
        change(resource)

    if not write.validate_only:
        return await resources.update(project, resource_id, checked, request=write.request)
    preview = await resources.get(project, resource_id)
    checked(preview)
    return preview


async def delete(  # noqa: PLR0913 - what is deleted, and how
    resources: Aggregates[A],
    project: str,
    resource_id: str,
    write: Write,
    *,
    change: Callable[[A], None] = lambda _: None,
    changed: type[Conflict] = Conflict,
) -> A:
    """Return the resource as deleted, or as it would be; `change` records what else ends with it.

    Raises:
        NotFound: there is none.
        Conflict: it changed since the etag, or the race was lost too often.

    """

    def end(resource: A) -> None:
        change(resource)
        resource.deleted = True

    return await update(resources, project, resource_id, end, write, changed=changed)
