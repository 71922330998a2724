"""What a mapping leaves out, for a test that names it: a new attribute is then sent, or left out on purpose."""

from dataclasses import fields

from google.protobuf.message import Message

from tidemill_core.aggregate import Aggregate

_OF_STORES = {"version", "deleted", "pending"}


def unsent(message_class: type[Message], *classes: type) -> set[str]:
    """Return the fields of the classes that no field of the message takes, but for what only stores need."""
    taken = set(message_class.DESCRIPTOR.fields_by_name)
    return {
        each.name
        for cls in classes
        for each in fields(cls)
        if each.name not in taken
        and each.name.removesuffix("_s") not in taken
        and not (issubclass(cls, Aggregate) and each.name in _OF_STORES)
    }
