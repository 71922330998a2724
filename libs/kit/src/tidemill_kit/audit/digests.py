"""Digests of requests and replies for the audit trail, without what may be secret in them."""

import asyncio
from functools import cache, partial
from hashlib import sha256
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_SMALL_BYTES = 64 * 1024
"""Digested sooner than a thread takes over; anything larger is copied, serialized and hashed beside the event loop."""
_ETAG = "etag"


async def request_digest(message: Message, raw: bytes) -> str:
    """Return the sha256 of a request as it was sent, or, where fields of it are redacted, of the others."""

    def digest() -> str:
        return _digest_of(message) if has_redacted(message.DESCRIPTOR) else sha256(raw).hexdigest()

    return await asyncio.to_thread(digest) if len(raw) > _SMALL_BYTES else digest()


def etag_sent(message: Message) -> str:
    """Return the etag in a request, of itself or of its resource, "" where it has none."""
    return _etag(message) or next(map(_etag, _resources(message)), "")


async def reply_state(message: object) -> tuple[str, str]:
    """Return etag and digest of the resource that a reply carries, "" where it carries none.

    Of every size: the change was made, also where its reply is too large to be sent.
    """
    for resource in _resources(message) if isinstance(message, Message) else ():
        digest = partial(_digest_of, resource)
        large = resource.ByteSize() > _SMALL_BYTES
        return _etag(resource), await asyncio.to_thread(digest) if large else digest()
    return "", ""


def _digest_of(message: Message) -> str:
    return sha256(_without_redacted(message)).hexdigest()


def _etag(message: Message) -> str:
    return str(getattr(message, _ETAG)) if _ETAG in message.DESCRIPTOR.fields_by_name else ""


def _resources(message: Message) -> list[Message]:
    """Return the messages in it that have an etag."""
    return [getattr(message, name) for name in _resource_fields(message.DESCRIPTOR) if message.HasField(name)]


@cache
def _resource_fields(kind: Descriptor) -> tuple[str, ...]:
    return tuple(
        each.name
        for each in kind.fields
        if not each.is_repeated and each.message_type is not None and _ETAG in each.message_type.fields_by_name
    )


@cache
def has_redacted(kind: Descriptor) -> bool:
    """Return whether a field with `debug_redact` is anywhere in a message."""
    return _has_redacted(kind, frozenset())


def _has_redacted(kind: Descriptor, above: frozenset[Descriptor]) -> bool:
    if kind in above:
        return False
    return any(
        _is_redacted(each) or (each.message_type is not None and _has_redacted(each.message_type, above | {kind}))
        for each in kind.fields
    )


def _without_redacted(message: Message) -> bytes:
    if has_redacted(message.DESCRIPTOR):
        copy = type(message)()
        copy.CopyFrom(message)
        _clear(copy)
        message = copy
    return message.SerializeToString(deterministic=True)


def _clear(message: Message) -> None:
    for declared, value in message.ListFields():
        if _is_redacted(declared):
            message.ClearField(declared.name)
        elif declared.message_type is not None and has_redacted(declared.message_type):
            for each in _messages(declared, value):
                _clear(each)


def _messages(declared: FieldDescriptor, value: Any) -> list[Message]:  # noqa: ANN401 - of any kind of field
    if not declared.is_repeated:
        return [value]
    return [each for each in (value.values() if hasattr(value, "values") else value) if isinstance(each, Message)]


def _is_redacted(declared: FieldDescriptor) -> bool:
    return bool(declared.GetOptions().debug_redact)
