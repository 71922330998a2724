"""The desired state of one resource of a loop."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from google.protobuf.message import Message

OWNER_LABEL = "tidemill.dev/loop"
"""The label with the name of the loop that declares a resource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """A message, and the fields that the file owns.

    `refers_to` are the (kind, name) pairs that must exist before it.
    """

    kind: str
    name: str
    message: Message
    fields: tuple[str, ...]
    refers_to: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(
        cls,
        kind: str,
        of_type: type[Message],
        name: str,
        refers_to: Iterable[tuple[str, str]] = (),
        /,
        **fields: Any,  # noqa: ANN401 - of the message
    ) -> Self:
        """Return the resource whose message has these fields; the file owns them, also those that are not set."""
        message = of_type(id=name, **fields)
        return cls(kind=kind, name=name, message=message, fields=tuple(fields), refers_to=tuple(refers_to))
