"""Requests of any RPC from its descriptor: of the right shape, with values that break what was not thought of."""

from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf import struct_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

MAX_DEPTH = 5
PATHS = (
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "a/../../b",
    "..\\..\\windows",
    "C:\\windows\\system32",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%c0%afetc",
    "a\0b",
    "model\0.safetensors",
    "~/.ssh/id_rsa",
    "file:///etc/passwd",
    "//host/share",
    "a//b",
    "./a",
    "a/",
    "\u2024\u2024/\u2024\u2024/etc",
    "\uff0e\uff0e/etc",
    "con",
    "a" * 300,
    "/".join(["d"] * 200),
)
"""Values that lead elsewhere where a path is made of them."""
INJECTIONS = (
    "",
    " ",
    "\n",
    "\t\r\n",
    "'",
    '"',
    "' OR '1'='1",
    "'; DROP TABLE documents;--",
    '{"$ne": null}',
    '{"$where": "sleep(1000)"}',
    "$where",
    "a.b.c",
    "$set",
    "a.$[].b",
    "{{ 7 * 7 }}",
    "{% for a in range(10) %}{{ a }}{% endfor %}",
    "{{ ''.__class__.__mro__ }}",
    "${jndi:ldap://127.0.0.1/a}",
    "%s%s%s%n",
    "<script>alert(1)</script>",
    "javascript:alert(1)",
    "http://169.254.169.254/latest/meta-data",
    "http://[::1",
    "a\r\nX-Evil: 1",
    "\u202eabc",
    "\ufeff",
    "\ud7ff\ue000",
    "\U0010ffff",
    "\x1b[31m",
    "\x7f",
    "e\u0301" * 40,
    "\u0661\u0662",
    "NaN",
    "-0",
    "1e999",
    "9" * 400,
    "@",
    "a@",
    "a@0",
    "a@-1",
    "a@1@2",
    "a@99999999999999999999",
    "a@1e3",
    "a@\u0661",
    "^(a+)+$",
    "null",
    "undefined",
    "__proto__",
    'source = "',
    'source = "a" AND source = "a"',
    "state = 1",
    "create_time desc",
    "id asc, id desc",
    "eyJhIjoxfQ==",
    "AAAA",
    "=" * 50,
    "Z" * 20_000,
    "(" * 3000,
    "[" * 3000,
)
NAMES = ("a", "b", "helpdesk", "a@1", "00000000-0000-5000-8000-000000000000", "user:ada", "text/plain", "ratio")
BROKEN = "\x01broken utf-8\x01"
"""Stands for bytes that are no text; `wire` puts them in its place."""
INTEGERS = {True: (0, 1, -1, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 100), False: (0, 1, 2**32 - 1, 2**64 - 1)}
FLOATS = (0.0, 1.0, -1.0, 0.5, float("nan"), float("inf"), float("-inf"), 1e308, 5e-324, -0.0)
BITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}

TEXTS = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from(PATHS),
    st.sampled_from(INJECTIONS),
    st.text(max_size=30),
    st.just(BROKEN),
)


def _deep(depth: int) -> struct_pb2.Value:
    value = struct_pb2.Value(string_value="end")
    for number in range(depth):
        if number % 2:
            value = struct_pb2.Value(list_value=struct_pb2.ListValue(values=[value]))
        else:
            value = struct_pb2.Value(struct_value=struct_pb2.Struct(fields={"a": value}))
    return value


_LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.sampled_from(FLOATS), TEXTS.filter(lambda text: len(text) < 500)
)
_JSON = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)


def _structs() -> st.SearchStrategy[struct_pb2.Struct]:
    def of(fields: dict[str, Any]) -> struct_pb2.Struct:
        struct = struct_pb2.Struct()
        struct.update(fields)
        return struct

    made = st.dictionaries(TEXTS, _JSON, max_size=3).map(of)
    return made | st.sampled_from([10, 20]).map(lambda depth: struct_pb2.Struct(fields={"a": _deep(depth)}))


def _values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_MESSAGE:
        assert field.message_type is not None
        return messages(field.message_type, depth=depth + 1)
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return TEXTS if field.type == FieldDescriptor.TYPE_STRING else st.binary(max_size=40) | TEXTS.map(str.encode)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        assert field.enum_type is not None
        return st.sampled_from([*(value.number for value in field.enum_type.values), 99, -1])
    if kind in BITS:
        least, most = BITS[kind]
        edges = [number for number in INTEGERS[least < 0] if least <= number <= most]
        return st.sampled_from(edges) | st.integers(least, most)
    return st.sampled_from(FLOATS)


@st.composite
def messages(draw: st.DrawFn, kind: Descriptor, *, depth: int = 0) -> Message:
    """Draw a message of a kind; each of its fields may be absent."""
    made = GetMessageClass(kind)()
    if kind.full_name == struct_pb2.Struct.DESCRIPTOR.full_name:
        made.CopyFrom(draw(_structs()))
        return made
    for field in kind.fields:
        if depth < MAX_DEPTH and draw(st.integers(0, 3)):
            put(draw, made, field, depth=depth)
    return made


def put(draw: st.DrawFn, message: Message, field: FieldDescriptor, *, depth: int = 0) -> None:
    """Set a field to what is drawn."""
    values = _values(field, depth)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name
        keys, kept = _values(entry["key"], depth), _values(entry["value"], depth)
        for key, value in draw(st.dictionaries(keys, kept, max_size=3)).items():
            if isinstance(value, Message):
                getattr(message, field.name)[key].CopyFrom(value)
            else:
                getattr(message, field.name)[key] = value
    elif field.is_repeated:
        drawn = draw(st.lists(values, max_size=3))
        del getattr(message, field.name)[:]
        getattr(message, field.name).extend(drawn * draw(st.sampled_from([1, 1, 1, 1, 50])))
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(draw(values))
    else:
        setattr(message, field.name, draw(values))


@st.composite
def changed(draw: st.DrawFn, sound: Message) -> Message:
    """Draw a message that is a sound one but for one field, at any depth."""
    made = type(sound)()
    made.CopyFrom(sound)
    at = made
    while at.DESCRIPTOR.fields:
        field: Any = draw(st.sampled_from(list(at.DESCRIPTOR.fields)))
        single = field.message_type is not None and not field.is_repeated
        if not (single and at.HasField(field.name) and draw(st.integers(0, 3))) or field.message_type is None:
            put(draw, at, field)
            return made
        at = getattr(at, field.name)
    return made


def wire(message: Message) -> bytes:
    """Return a message as bytes, with what is no text where a text stands for it."""
    marked = BROKEN.encode()
    return message.SerializeToString(deterministic=True).replace(
        marked, b"\xff\xfe\xc0\xaf".ljust(len(marked), b"\xed")
    )


@st.composite
def requests(draw: st.DrawFn, method: MethodDescriptor, sound: Sequence[Message]) -> list[bytes]:
    """Draw what is sent to an RPC: one message, or several to a stream; now and then bytes that are none."""
    made = messages(method.input_type)
    if sound:
        made = st.one_of(made, *(changed(each) for each in sound))
    count = draw(st.integers(0, 3)) if method.client_streaming else 1
    sent = [wire(draw(made)) for _ in range(count)]
    if (bottomless := list(_structs_in(method.input_type))) and sent and not draw(st.integers(0, 9)):
        sent[-1] = _nested(draw(st.sampled_from(bottomless)), depth=draw(st.sampled_from([20, 33, 100, 5000])))
    if sent and not draw(st.integers(0, 15)):
        cut = draw(st.integers(0, 40))
        sent[-1] = sent[-1][:cut] + draw(st.binary(max_size=40))
    return sent


def _structs_in(kind: Descriptor, above: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Yield the way to each field that is a struct, as field numbers."""
    for field in kind.fields:
        if field.message_type is not None and len(above) < MAX_DEPTH:
            way = (*above, field.number)
            if field.message_type.full_name == struct_pb2.Struct.DESCRIPTOR.full_name:
                yield way
            else:
                yield from _structs_in(field.message_type, way)


def _nested(way: tuple[int, ...], *, depth: int) -> bytes:
    """Return a request with a struct that is deeper than a parser follows: no message of it can be made here."""
    inner = b""
    for _ in range(depth):
        entry = _field(1, b"a") + _field(2, inner)  # of Struct.fields: key and value
        inner = _field(5, _field(1, entry))  # Value.struct_value
    for number in reversed(way):
        inner = _field(number, inner)
    return inner


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def with_nan(message: Message, *, depth: int = 0) -> bool:
    """Put a number that JSON lacks into every struct and list of a message; return whether it has any."""
    found = False
    for field in message.DESCRIPTOR.fields:
        inner = field.message_type
        if inner is None or inner.GetOptions().map_entry or depth == MAX_DEPTH:
            continue
        if inner.full_name == struct_pb2.Struct.DESCRIPTOR.full_name:
            getattr(message, field.name).update({"a": [{"b": [float("nan")]}]})
            found = True
        elif inner.full_name == struct_pb2.ListValue.DESCRIPTOR.full_name:
            getattr(message, field.name).append(float("nan"))
            found = True
        elif not inner.full_name.startswith("google."):
            made = GetMessageClass(inner)()  # type: ignore[arg-type] # its stubs name two kinds of one thing
            if with_nan(made, depth=depth + 1):
                place = getattr(message, field.name)
                place.append(made) if field.is_repeated else place.CopyFrom(made)
                found = True
    return found
