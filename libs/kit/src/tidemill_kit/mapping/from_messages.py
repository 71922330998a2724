"""From messages of the contract to values and commands of the domain, by the class's fields."""

import types
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache, partial
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from tidemill_core.aggregate import Aggregate
from tidemill_core.errors import InvalidInput
from tidemill_kit.mapping.enums import members_of
from tidemill_kit.mapping.to_messages import is_map, type_of, value_of

T = TypeVar("T")
Read = Callable[[Any], Any]

REST: Final = frozenset({"*"})
"""`ignore=REST`: the message is another service's, and only what the class has is read."""
_SET_BY_SERVER = frozenset({"project", "seq", "etag", "create_time", "update_time"})
_OF_REQUESTS = frozenset({"request_id", "validate_only"})
_OF_AGGREGATES = frozenset(each.name for each in fields(Aggregate)) - {"id", "labels"}
_DURATION: str = Duration.DESCRIPTOR.full_name
_TIMESTAMP: str = Timestamp.DESCRIPTOR.full_name
_LONGEST_S = 10**10
"""A Duration may exceed the range of timedelta; the domain refuses what is longer than its limit."""
_COLLECTIONS: Mapping[object, Callable[[Any], Any]] = {
    tuple: tuple,
    list: list,
    Sequence: tuple,
    Collection: tuple,
    frozenset: frozenset,
    set: set,
    AbstractSet: frozenset,
}


class _Refused(Exception):
    """Becomes InvalidInput once its path is known."""

    def __init__(self, *, description: str) -> None:
        super().__init__(description)
        self.description = description
        self.path = ""

    def within(self, name: str) -> "_Refused":
        separator = "." if self.path and not self.path.startswith("[") else ""
        self.path = f"{name}{separator}{self.path}"
        return self


def from_message(
    cls: type[T], message: Message, /, *, prefix: str = "", ignore: Collection[str] = (), **differences: object
) -> T:
    """Return an object of a dataclass whose fields are those of the message, or `differences`.

    Absent `optional` fields, messages and UNSPECIFIED take the class's default; without one, None where the field may
    be None, else an error for enums and times. Scalars without presence are taken as they are, zeros too. A field of
    the message that no field of the class takes has to be named in `ignore`, but for what servers set and requests
    carry (`project`, `seq`, `etag`, `create_time`, `update_time`; `request_id`, `validate_only`). Of an aggregate only
    `id` and `labels` are read, beside its own fields. `prefix` is the place of the message in its request, for errors.

    Raises:
        TypeError: a field of the class has no source, or one of the message no use.
        InvalidInput: a value is none of those that there are.

    """
    plan = _plan(cast("Any", cls), message.DESCRIPTOR, frozenset(differences), frozenset(ignore))
    try:
        return cls(**plan(message), **differences)
    except _Refused as refused:
        refused = refused.within(prefix) if prefix else refused
        raise InvalidInput.at(field=refused.path, text=refused.description) from None


def from_struct(struct: Struct, *, field: str) -> dict[str, Any]:
    """Return the values of a struct; `field` is its path in the request.

    Raises:
        InvalidInput: it contains NaN or Infinity, which JSON does not have.

    """
    try:
        return _plain(struct)
    except _Refused as refused:
        raise InvalidInput.at(field=field, text=refused.description) from None


def from_timestamp(stamp: Timestamp, *, field: str) -> datetime:
    """Return the moment of a timestamp; `field` is its path in the request.

    Raises:
        InvalidInput: it is beyond the years 1 to 9999, or its nanos are beyond a second.

    """
    try:
        return _moment(stamp)
    except _Refused as refused:
        raise InvalidInput.at(field=field, text=refused.description) from None


@dataclass(frozen=True, slots=True)
class _FieldReader:
    target: str
    source: str
    read: Read | None
    has_presence: bool
    absent: Any

    def into(self, values: dict[str, Any], message: Message) -> None:
        if self.has_presence and not message.HasField(self.source):
            if self.absent is _REQUIRED:
                raise _Refused(description="is missing").within(self.source)
            if self.absent is not _DEFAULT and self.absent is not _EMPTY:
                values[self.target] = self.absent
            if self.absent is not _EMPTY:
                return
        value = getattr(message, self.source)
        if self.read is not None:
            try:
                value = self.read(value)
            except _Refused as refused:
                raise refused.within(self.source) from None
        if value is _UNSPECIFIED:
            if self.absent is _DEFAULT:
                return
            if self.absent is not None:
                raise _Refused(description="is missing").within(self.source)
            value = None
        values[self.target] = value


class _Plan:
    def __init__(self, readers: Sequence[_FieldReader]) -> None:
        self._copies = [(each.target, each.source) for each in readers if each.read is None and not each.has_presence]
        self._readers = [each for each in readers if each.read is not None or each.has_presence]

    def __call__(self, message: Message) -> dict[str, Any]:
        values = {target: getattr(message, source) for target, source in self._copies}
        for reader in self._readers:
            reader.into(values, message)
        return values


_DEFAULT, _EMPTY, _REQUIRED, _UNSPECIFIED = object(), object(), object(), object()


@cache
def _plan(cls: type, descriptor: Any, different: frozenset[str], ignored: frozenset[str]) -> _Plan:  # noqa: ANN401
    if not is_dataclass(cls):
        message = f"{cls.__name__} is no dataclass"
        raise TypeError(message)
    hints, readers = get_type_hints(cls), []
    own = [
        each for each in fields(cls) if each.init and not (issubclass(cls, Aggregate) and each.name in _OF_AGGREGATES)
    ]
    for each in own:
        if each.name in different:
            continue
        source = _source_of(each.name, descriptor)
        if source is not None:
            readers.append(_reader(each, hints[each.name], source))
        elif not _has_default(each):
            message = f"{cls.__name__}.{each.name} has no field in {descriptor.full_name}: give {each.name}="
            raise TypeError(message)
    used = {reader.source for reader in readers} | different | ignored | _SET_BY_SERVER | _OF_REQUESTS
    unused = [field.name for field in descriptor.fields if field.name not in used]
    if unused and ignored != REST:
        message = (
            f"{descriptor.full_name}.{unused[0]} is read into nothing: add a field of this name to {cls.__name__}, "
            "or name it in ignore="
        )
        raise TypeError(message)
    return _Plan(readers)


def _source_of(name: str, descriptor: Any) -> FieldDescriptor | None:  # noqa: ANN401 - protobuf's types lack it
    by_name: Mapping[str, FieldDescriptor] = descriptor.fields_by_name
    found = by_name.get(name.removesuffix("_s"))
    return by_name.get(name) or (found if found is not None and type_of(found) == _DURATION else None)


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _reader(field: Field[Any], hint: object, source: FieldDescriptor) -> _FieldReader:
    inner, optional = _without_none(hint)
    presence = source.has_presence and not source.is_repeated
    if _has_default(field):
        absent = _DEFAULT
    elif optional:
        absent = None
    else:
        absent = _REQUIRED if type_of(source) in {_TIMESTAMP, _DURATION} else _EMPTY
    return _FieldReader(field.name, source.name, _read(inner, source), presence, absent)


def _without_none(hint: object) -> tuple[Any, bool]:
    if get_origin(hint) in {Union, types.UnionType}:
        others = [each for each in get_args(hint) if each is not type(None)]
        if len(others) < len(get_args(hint)):
            return (others[0] if len(others) == 1 else Union[tuple(others)]), True  # noqa: UP007 - made at run time
    return hint, False


def _read(hint: Any, source: FieldDescriptor) -> Read | None:  # noqa: ANN401 - a type
    if is_map(source):
        value = _single(_item_of(hint, 1), value_of(source))
        return dict if value is None else partial(_read_map, value)
    if not source.is_repeated:
        return _single(hint, source)
    build = _COLLECTIONS.get(get_origin(hint) or hint)
    if build is None:
        message = f"{source.full_name} is repeated, and {hint} is no tuple, list or set"
        raise TypeError(message)
    item = _single(_item_of(hint, 0), source)
    return build if item is None else partial(_read_items, item, build)


def _read_map(read: Read, values: Mapping[Any, Any]) -> dict[Any, Any]:
    return {key: _within(read, value, f"[{key}]") for key, value in values.items()}


def _read_items(read: Read, build: Read, values: Sequence[Any]) -> Any:  # noqa: ANN401 - a collection
    return build([_within(read, value, f"[{place}]") for place, value in enumerate(values)])


def _item_of(hint: object, index: int) -> object:
    arguments = get_args(hint)
    return arguments[index] if index < len(arguments) else object


def _within(read: Read, value: Any, place: str) -> Any:  # noqa: ANN401 - of any field
    try:
        item = read(value)
        if item is _UNSPECIFIED:
            raise _Refused(description="is missing")  # noqa: TRY301 - its place is added below
    except _Refused as refused:
        raise refused.within(place) from None
    return item


def _single(hint: Any, source: FieldDescriptor) -> Read | None:  # noqa: ANN401 - a type
    if source.message_type is not None:
        return _message_reader(hint, source)
    if not isinstance(hint, type) or not issubclass(hint, Enum):
        return None
    if source.enum_type is None:
        values = {each.value: each for each in hint}
        return partial(_read_enum, values, "", ", ".join(values))
    return partial(_read_enum, members_of(hint, source.enum_type), 0, ", ".join(each.name for each in hint))


def _message_reader(hint: Any, source: FieldDescriptor) -> Read | None:  # noqa: ANN401 - a type
    if type_of(source) == _DURATION and hint is float:
        return lambda duration: _span(duration).total_seconds()
    if (read := _READERS.get(type_of(source))) is not None:
        return read
    if is_dataclass(hint):
        make: Any = hint
        plan = _plan(make, source.message_type, frozenset(), frozenset())
        return lambda message: make(**plan(message))
    if hint in {object, Any} or (isinstance(hint, type) and issubclass(hint, Message)):
        return None
    message = f"{source.full_name} is a message, and {hint} is no dataclass: give it as a difference"
    raise TypeError(message)


def _read_enum(members: Mapping[Any, Enum], unspecified: object, allowed: str, value: object) -> object:
    if (member := members.get(value)) is not None:
        return member
    if value == unspecified:
        return _UNSPECIFIED
    raise _Refused(description=f"is {value}; use one of {allowed}")


def _moment(stamp: Timestamp) -> datetime:
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _Refused(
            description=f"has {stamp.seconds} seconds and {stamp.nanos} nanos, which is not a valid time"
        ) from None


def _span(duration: Duration) -> timedelta:
    seconds = max(-_LONGEST_S, min(_LONGEST_S, duration.seconds))
    return timedelta(seconds=seconds, microseconds=duration.nanos // 1000)


def _plain(struct: Struct) -> dict[str, Any]:
    try:
        return MessageToDict(struct)
    except ValueError:
        raise _Refused(description="contains NaN or Infinity: send finite numbers") from None


_READERS: Mapping[str, Read] = {_TIMESTAMP: _moment, _DURATION: _span, Struct.DESCRIPTOR.full_name: _plain}
