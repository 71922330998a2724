"""What entry points read out of requests the same way everywhere: request ids, pages, masks, etags."""

import asyncio
import re
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from datetime import datetime
from hashlib import sha256
from typing import Protocol

import structlog
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tidemill_core.application import PageRequest, Request
from tidemill_core.errors import InvalidInput, Violation, digest_of
from tidemill_core.paging import MAX_PAGE_SIZE
from tidemill_core.resources import Write, check_request_id
from tidemill_kit.grpc.lists import CREATED, Order, descends, values_of

DEFAULT_PAGE_SIZE = 50
_SMALL_BYTES = 64 * 1024
_REQUEST_ID = "request_id"
_digested: ContextVar[tuple[Message, str] | None] = ContextVar("tidemill_digested_request", default=None)
"""The large request of this call, and the digest of its body."""
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Paged(Protocol):
    """A List request."""

    page_size: int
    page_token: str
    order_by: str
    filter: str


def required(message: Message, field: str) -> None:
    """Refuse a request that lacks a message in it.

    Raises:
        InvalidInput: naming the field.

    """
    if not message.HasField(field):
        raise InvalidInput.at(field=field, text="is missing")


async def digest_large(message: object, *, size: int) -> None:
    """Work out beside the event loop what `request_of` needs of a large message, before the handler runs."""
    if size > _SMALL_BYTES and isinstance(message, Message) and _REQUEST_ID in message.DESCRIPTOR.fields_by_name:
        _digested.set((message, await asyncio.to_thread(_digest_of, message)))


def request_of(message: Message) -> Request:
    """Return the intent of a request with a `request_id`; its digest covers the rest and what it is asked of.

    Raises:
        InvalidInput: the id is too long.

    """
    request_id = str(getattr(message, _REQUEST_ID, ""))
    check_request_id(request_id)
    known = _digested.get()
    digest = known[1] if known is not None and known[0] is message else _digest_of(message)
    request = Request.digested(request_id, digest)
    structlog.contextvars.bind_contextvars(request_id=_reported(request.id))
    return request


def _digest_of(message: Message) -> str:
    body = type(message)()
    body.CopyFrom(message)
    if getattr(message, _REQUEST_ID, ""):
        body.ClearField(_REQUEST_ID)
    asked = body.DESCRIPTOR.full_name.encode()
    return sha256(asked + b"\0" + body.SerializeToString(deterministic=True)).hexdigest()


def _reported(request_id: str) -> str:
    """Return a request id as logs have it: other callers than ours make it of order numbers, or of names."""
    return request_id if _UUID.fullmatch(request_id) else digest_of(request_id)


def page_of(message: Paged, *, filters: Mapping[str, str] | None = None, order: Order = CREATED) -> PageRequest:
    """Return which page a List request needs: 0 means 50 items.

    `filters` are the fields that callers may filter by, with their names in the store; without it, the list has neither
    filters nor another order than its own. `order` is what callers may order by, in both directions: `newest_first`
    of the page is its descending one.

    Raises:
        InvalidInput: the size is negative or above 1000, or the order or the filter is none that the list has.

    """
    if not 0 <= message.page_size <= MAX_PAGE_SIZE:
        text = f"is {message.page_size}; send 0 (for {DEFAULT_PAGE_SIZE}) to {MAX_PAGE_SIZE}"
        raise InvalidInput.at(field="page_size", text=text)
    size = message.page_size or DEFAULT_PAGE_SIZE
    if filters is None:
        if given := [name for name in ("order_by", "filter") if getattr(message, name)]:
            raise InvalidInput.of(*(Violation(name, "is not supported by this list: leave it empty") for name in given))
        return PageRequest(size=size, token=message.page_token)
    where = values_of(message.filter, allowed=filters)
    if twice := [name for name, stored in filters.items() if stored in where and getattr(message, name, None)]:
        text = f"names {twice[0]!r}, which the request's own field sets: use one of them"
        raise InvalidInput.at(field="filter", text=text)
    return PageRequest(size=size, token=message.page_token, newest_first=descends(message.order_by, order), where=where)


def paths_of(mask: FieldMask, *, allowed: Collection[str]) -> frozenset[str]:
    """Return the fields that an Update changes.

    Raises:
        InvalidInput: the mask is empty, or names something that cannot be changed.

    """
    choice = f"allowed: {', '.join(sorted(allowed))}"
    unknown = sorted(set(mask.paths) - set(allowed))
    if unknown or not mask.paths:
        texts = [f"{path!r} cannot be changed; {choice}" for path in unknown] or [f"names no field; {choice}"]
        raise InvalidInput.of(*(Violation("update_mask", text) for text in texts))
    return frozenset(mask.paths)


def write_of(message: Message, *, etag: str = "") -> Write:
    """Return how a change is asked for; a Delete has its etag itself, an Update in the resource.

    Raises:
        InvalidInput: the request id is too long.

    """
    return Write(
        request=request_of(message),
        etag=etag or str(getattr(message, "etag", "")),
        validate_only=bool(getattr(message, "validate_only", False)),
    )


def timestamp_of(moment: datetime | None) -> Timestamp | None:
    """Return a moment for a message's field; None leaves the field unset."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
