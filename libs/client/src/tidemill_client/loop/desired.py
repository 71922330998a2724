"""One resource as a loop needs it."""

from dataclasses import dataclass

from google.protobuf.message import Message

OWNER_LABEL = "tidemill.dev/loop"
"""The label that says which loop declares a resource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """A message, and the fields of it that the file owns.

    `refers_to` are the (kind, name) pairs that must exist before it.
    """

    kind: str
    name: str
    message: Message
    fields: tuple[str, ...]
    refers_to: tuple[tuple[str, str], ...] = ()
