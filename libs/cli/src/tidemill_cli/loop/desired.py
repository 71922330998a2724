"""The desired state of one resource of a loop."""

from dataclasses import dataclass

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
