"""The resource that an RPC acts on: read from its request, by the paths that the contract declares, for the log."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tidemill_core.errors import digest_of

Named = Callable[[Any], str]

_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}(@[0-9]{1,9})?")


class UnknownResource(ValueError):
    """An RPC declares a resource that its request does not have."""


def resource_of(request: Descriptor, paths: Sequence[str]) -> Named | None:
    """Return what names the resource of a request, "" where it names none; None without paths.

    What is no id, and fields with `debug_redact` (a document's key, an end user), are named by a digest.

    Raises:
        UnknownResource: a path leads to no text or enum in the request.

    """
    fields = [_fields(request, path) for path in paths]
    if not fields:
        return None

    def name(message: object) -> str:
        for steps in fields:
            value: Any = message
            for step in steps:
                value = getattr(value, step.name)
            kinds = steps[-1].enum_type
            if value and kinds is not None:
                return str(kinds.values_by_number[value].name) if value in kinds.values_by_number else ""
            if value:
                return str(value) if _ID.fullmatch(value) and not _is_redacted(steps[-1]) else digest_of(value)
        return ""

    return name


def _fields(request: Descriptor, path: str) -> list[FieldDescriptor]:
    steps, message = [], request
    for name in path.split("."):
        field: Any = message.fields_by_name.get(name) if message is not None else None
        if field is None or field.is_repeated:
            break
        steps.append(field)
        message = field.message_type
    else:
        if steps[-1].type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_ENUM):
            return steps
    error = f"{request.full_name} has no text at {path!r}, which its RPC declares as its resource"
    raise UnknownResource(error)


def _is_redacted(field: FieldDescriptor) -> bool:
    return bool(field.GetOptions().debug_redact)
