"""What a project holds, read over every RPC that reads: messages by their type, and texts by their field."""

import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.system.calls import METHODS, Calls, texts_of
from tidemill.options.v1 import options_pb2

ROUNDS = 3
MAX_MESSAGES, MAX_IDS = 3, 40
"""Kept of one type, and asked for in one field."""
WHOLE = "TIDEMILL_PROBES" in os.environ
"""Whether each RPC is asked for everything; tests ask for what it is known to return, where something is."""
UNBOUNDED = {"tidemill.status.v1.StatusService/GetStatus", "tidemill.monitor.v1.AccessService/ListProjects"}
"""Read more than one project."""


class Harvest:
    """Reads a project as one who may read all of it, and keeps what is found."""

    def __init__(self, calls: Calls, **metadata: str) -> None:
        self._calls, self._metadata = calls, metadata
        self.messages: defaultdict[str, list[Message]] = defaultdict(list)
        self.texts: defaultdict[str, dict[str, None]] = defaultdict(dict)
        """Values by the name of their field, in the order in which they were found."""
        self._asked = set[tuple[str, bytes]]()

    def read(self) -> None:
        """Ask every reading RPC for what is known, until nothing new is found."""
        for number in range(ROUNDS):
            for name, method in METHODS.items():
                if reads(method) and name not in UNBOUNDED:
                    for request in list(self._requests(method, named=WHOLE or number > 0)):
                        self._ask(name, method, request)

    def _requests(self, method: MethodDescriptor, *, named: bool) -> Iterator[Message]:
        kind = GetMessageClass(method.input_type)
        yield kind()
        if "page_size" in method.input_type.fields_by_name:
            yield kind(page_size=1)
        for field in method.input_type.fields if named else ():
            if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated and field.name in NAMING:
                for value in self._names(method, field.name):
                    request = kind()
                    setattr(request, field.name, value)
                    yield request

    def _names(self, method: MethodDescriptor, field: str) -> list[str]:
        """Return what to ask for in a field: what has been returned so far, or the ids of everything."""
        kinds = [each.message_type.full_name for each in method.output_type.fields if each.message_type is not None]
        returned = [getattr(each, field, "") for kind in kinds for each in self.messages[kind]]
        known = {name: None for name in returned if isinstance(name, str) and name}
        return list(self.ids())[:MAX_IDS] if WHOLE or not known else list(known)

    def _ask(self, name: str, method: MethodDescriptor, request: Message) -> None:
        wire = request.SerializeToString()
        if (name, wire) in self._asked:
            return
        self._asked.add((name, wire))
        answer = self._calls(name, wire, **self._metadata)
        if answer.code != "OK":
            return
        self.keep(GetMessageClass(method.output_type).FromString(answer.body))

    def keep(self, reply: Message) -> None:
        """Keep what a reply holds."""
        for each in _messages(reply):
            kept = self.messages[each.DESCRIPTOR.full_name]
            if len(kept) < MAX_MESSAGES:
                kept.append(each)
        for field, text in texts_of(reply):
            self.texts[field][text] = None

    def ids(self) -> Iterator[str]:
        """Yield what resources are named by."""
        for field in ("id", "key", "subject", "version", "document"):
            yield from self.texts[field]

    def sound(self, method: MethodDescriptor) -> list[Message]:
        """Return requests that are made of what there is."""
        made = GetMessageClass(method.input_type)()
        self._fill(made, method.input_type, depth=0)
        return [made]

    def _fill(self, made: Message, kind: Descriptor, *, depth: int) -> None:
        for field in kind.fields:
            if field.is_repeated:
                continue
            if field.message_type is not None:
                if known := self.messages[field.message_type.full_name]:
                    getattr(made, field.name).CopyFrom(known[0])
                elif depth == 0 and not field.message_type.full_name.startswith("google."):
                    self._fill(getattr(made, field.name), field.message_type, depth=depth + 1)
            elif field.type == FieldDescriptor.TYPE_STRING and field.name in NAMING:
                known_texts = self.texts[field.name] or self.texts["id"]
                setattr(made, field.name, next(iter(known_texts), "a"))


NAMING = frozenset(
    {
        *("id", "key", "name", "subject", "version", "source", "sources", "document", "collection", "dataset"),
        *("model", "base", "target", "plan", "suite", "gate", "evaluation", "candidate", "baseline"),
        *("prompt", "deployment", "rollout", "inference"),
    }
)
"""Fields that name a resource."""


def reads(method: MethodDescriptor) -> bool:
    """Return whether an RPC changes nothing: it is not audited."""
    options = method.GetOptions().Extensions
    audited = options[options_pb2.audit] == options_pb2.AUDIT_CALL
    return not audited and options[options_pb2.required_role] != options_pb2.ROLE_PUBLIC and not method.client_streaming


def _messages(message: Any) -> Iterator[Message]:  # noqa: ANN401 - of any type
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for each in value if field.is_repeated else [value]:
            yield each
            yield from _messages(each)
