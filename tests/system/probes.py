"""Probes of one project with what another one holds, by reflection: each is asked twice, once of nothing.

A probe is a request of any RPC with one text of the other project in one of its fields, at any depth. Its twin has
another value of the same form there, which is nowhere. Both have to be answered alike.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tests.system.calls import METHODS, UUID, absent
from tests.system.filling import CANARY
from tests.system.harvest import Harvest
from tidemill.options.v1 import options_pb2

MAX_DEPTH = 4
ROLES = ("admin", "admin", "operator", "contributor", "viewer")
"""An admin reaches the most."""
ADMIN = "user:local-admin"
"""Created both projects, and is in both."""
HEADER_SHARE = 0.2
"""Of probes that name the other project as theirs, beside the credential."""
OWN_SHARE = 0.6
"""Of probes whose value comes from a field of the same name, which passes most checks of its form."""
_RESOURCES = frozenset(
    {
        *("id", "key", "name", "subject", "version", "source", "document", "passage", "collection", "dataset"),
        *("model", "plan", "run", "suite", "gate", "evaluation", "deployment", "rollout", "inference", "end_user"),
        *("credential", "request_id", "trace_id", "etag", "next_page_token", "project"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One RPC, asked with a value of the other project, and with one that none has."""

    method: str
    way: tuple[str, ...]
    value: str
    role: str
    foreign: bytes
    unknown: bytes
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def reads(self) -> bool:
        """Whether the RPC only reads, so that even whole replies are alike."""
        return METHODS[self.method].GetOptions().Extensions[options_pb2.audit] != options_pb2.AUDIT_CALL


def marks_of(harvest: Harvest, project: str) -> list[str]:
    """Return the texts of a project that no other project can have: ids, and what has its own words."""
    texts = {text for values in harvest.texts.values() for text in values}
    own = {text for text in texts if CANARY in text or project in text or UUID.fullmatch(text)}
    return sorted({*own, CANARY, project}, key=len)


def values_of(harvest: Harvest, object_keys: Sequence[str]) -> list[str]:
    """Return what resources of the project are found by."""
    named = [text for name in sorted(_RESOURCES) for text in harvest.texts[name]]
    found = {text for text in [*named, *object_keys] if text and absent(text) != text and len(text) <= 1000}
    return sorted(found - {ADMIN})


def probes(harvest: Harvest, values: Sequence[str], *, project: str, count: int, seed: int) -> Iterator[Probe]:
    """Yield so many probes, every field of every RPC first."""
    draw = random.Random(seed)  # noqa: S311 - to choose examples
    places = [(name, way) for name in METHODS for way in ways(METHODS[name].input_type)]
    draw.shuffle(places)
    known = set(values)
    for number in range(count):
        name, way = places[number % len(places)]
        own = [text for text in harvest.texts[way[-1]] if text in known]
        value = draw.choice(own if own and draw.random() < OWN_SHARE else values)
        method, base = METHODS[name], GetMessageClass(METHODS[name].input_type)()
        if draw.random() < 0.5:
            base = harvest.sound(method)[0]
        if "validate_only" in method.input_type.fields_by_name:
            base.validate_only = True  # type: ignore[attr-defined]
        yield Probe(
            method=name,
            way=way,
            value=value,
            role=draw.choice(ROLES),
            foreign=with_text(base, way, value),
            unknown=with_text(base, way, absent(value)),
            metadata={"tidemill_project": project} if draw.random() < HEADER_SHARE else {},
        )


def ways(kind: Descriptor, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the way to each field that holds text."""
    for each in kind.fields:
        way = (*above, each.name)
        if each.type == FieldDescriptor.TYPE_STRING:
            yield way
        elif each.message_type is not None and len(way) < MAX_DEPTH and "google." not in each.message_type.full_name:
            yield from ways(each.message_type, way)


def with_text(base: Message, way: Sequence[str], value: str) -> bytes:
    """Return a request with a text somewhere in it."""
    made = type(base)()
    made.CopyFrom(base)
    at = made
    for number, name in enumerate(way):
        declared = at.DESCRIPTOR.fields_by_name[name]
        held = getattr(at, name)
        if declared.message_type is not None and declared.message_type.GetOptions().map_entry:
            entry = declared.message_type.fields_by_name["value"]
            text = entry.type == FieldDescriptor.TYPE_STRING
            held["a" if way[number + 1] == "value" else value] = value if text else 1
            break
        if declared.message_type is None:
            if declared.is_repeated:
                held[:] = [value]
            else:
                setattr(at, name, value)
            break
        if declared.is_repeated:
            at = held[0] if len(held) else held.add()
        else:
            held.SetInParent()
            at = held
    return made.SerializeToString()
