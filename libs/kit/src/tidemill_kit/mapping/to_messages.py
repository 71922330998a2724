"""From domain objects to messages of the contract, by the message's descriptor."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import timedelta
from enum import Enum
from functools import cache
from inspect import getattr_static, isroutine
from itertools import repeat
from typing import Any, TypeVar, cast, get_type_hints

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tidemill_core.aggregate import Aggregate
from tidemill_core.resources import etag_of
from tidemill_kit.mapping.enums import numbers_of

M = TypeVar("M", bound=Message)
Convert = Callable[[Any], Any]

_DURATION = "google.protobuf.Duration"
_AS_GIVEN = frozenset({"google.protobuf.Timestamp", _DURATION})
_STRUCT = "google.protobuf.Struct"


def to_message(message_class: type[M], /, *sources: object, **differences: object) -> M:
    """Return the message whose fields are the attributes of the same name; the first source that has one gives it.

    Enums go by the name of the member, `x_s` fills the Duration `x`, the `etag` is an aggregate's version, sets are
    sorted, nested objects become messages the same way. None leaves a field unset. Of a oneof at most one member may
    be neither None nor its default. `differences` are the fields whose name or value differs, as objects of the domain,
    numbers of an enum or messages; where one of a oneof is given, its others need no attribute.

    Attributes without a field are not sent: `tidemill_testkit.mapping.unsent` lists them for a test.

    Raises:
        TypeError: a field has neither attribute nor difference, or a difference no field.
        ValueError: two members of a oneof are set.

    """
    plan = _plan(cast("Any", message_class), tuple(map(type, sources)), frozenset(differences))
    values: dict[str, Any] = {}
    for source, copies in zip(sources, plan.copies, strict=True):
        copies.into(values, source)
    for name, given in differences.items():
        if given is not None:
            convert = plan.converters[name]
            values[name] = given if convert is None else convert(given)
    for members in plan.oneofs:
        _choose(message_class, members, values)
    return message_class(**values)


@dataclass(slots=True)
class _Copies:
    """What one source gives: attributes that protobuf takes as they are, and those that are converted."""

    plain: list[tuple[str, str]] = field(default_factory=list)
    converted: list[tuple[str, str, Convert]] = field(default_factory=list)

    def into(self, values: dict[str, Any], source: object) -> None:
        for name, attribute in self.plain:
            values[name] = getattr(source, attribute)
        for name, attribute, convert in self.converted:
            if (value := getattr(source, attribute)) is not None:
                values[name] = convert(value)


@dataclass(frozen=True, slots=True)
class _Plan:
    copies: Sequence[_Copies]
    converters: Mapping[str, Convert | None]
    oneofs: Sequence[Sequence[str]]


@cache
def _plan(message_class: type[Message], classes: tuple[type, ...], different: frozenset[str]) -> _Plan:
    descriptor = message_class.DESCRIPTOR
    if unknown := different - set(descriptor.fields_by_name):
        message = f"{descriptor.full_name} has no field {', '.join(sorted(unknown))}"
        raise TypeError(message)
    targets: Sequence[Any] = descriptor.fields
    copies = [_Copies() for _ in classes]
    for each in targets:
        if each.name in different or any(map(_copy, repeat(each), classes, copies)):
            continue
        if (oneof := oneof_of(each)) and different & set(oneof):
            continue
        names = ", ".join(cls.__name__ for cls in classes) or "nothing"
        message = (
            f"{descriptor.full_name}.{each.name} has no attribute in {names}: add one, or give {each.name}= "
            "(None leaves it unset)"
        )
        raise TypeError(message)
    oneofs = {members for each in targets if (members := oneof_of(each))}
    return _Plan(copies, {each.name: _converter(each) for each in targets}, sorted(oneofs))


def _copy(target: FieldDescriptor, cls: type, copies: _Copies) -> bool:
    """Add what fills a field from a class; return whether anything does."""
    attributes = attributes_of(cls)
    if target.name in attributes:
        convert = None if _is_text(cls, target) else _converter(target)
        if convert is None:
            copies.plain.append((target.name, target.name))
        else:
            copies.converted.append((target.name, target.name, convert))
    elif f"{target.name}_s" in attributes and type_of(target) == _DURATION:
        copies.converted.append((target.name, f"{target.name}_s", _seconds))
    elif target.name == "etag" and issubclass(cls, Aggregate):
        copies.converted.append((target.name, "version", etag_of))
    else:
        return False
    return True


def _is_text(cls: type, target: FieldDescriptor) -> bool:
    """Return whether an attribute is a str, or a tuple of them, and no enum that is stored as one."""
    if target.type != FieldDescriptor.TYPE_STRING:
        return False
    found = getattr(cls, target.name, None)
    hints = get_type_hints(found.fget) if isinstance(found, property) and found.fget else get_type_hints(cls)
    return hints.get("return" if isinstance(found, property) else target.name) in {str, str | None, tuple[str, ...]}


def oneof_of(target: FieldDescriptor) -> tuple[str, ...]:
    """Return the members of the oneof that a target is in; none where it is only `optional`."""
    oneof = target.containing_oneof
    if oneof is None or (len(oneof.fields) == 1 and oneof.name == f"_{target.name}"):
        return ()
    return tuple(each.name for each in oneof.fields)


def attributes_of(cls: type) -> frozenset[str]:
    """Return the names of a class's values: fields, properties and slots."""
    names = {each.name for each in fields(cls)} if is_dataclass(cls) else set()
    return frozenset(names | {name for name in dir(cls) if not name.startswith("_") and _is_value(cls, name)})


def _is_value(cls: type, name: str) -> bool:
    return not isroutine(getattr_static(cls, name))


def type_of(target: FieldDescriptor) -> str:
    """Return the full name of a target's message, "" where it is none."""
    return "" if target.message_type is None else str(target.message_type.full_name)


@cache
def _converter(target: FieldDescriptor) -> Convert | None:
    """Return what makes a value ready for a target; None where protobuf takes it as it is."""
    if is_map(target):
        return _mapping(_single(value_of(target)))
    single = _single(target)
    return _items(single) if target.is_repeated else single


def is_map(target: FieldDescriptor) -> bool:
    """Return whether a target is a map."""
    return target.message_type is not None and bool(target.message_type.GetOptions().map_entry)


def value_of(target: FieldDescriptor) -> FieldDescriptor:
    """Return the field of a map's values."""
    entry: Any = target.message_type
    value: FieldDescriptor = entry.fields_by_name["value"]
    return value


def _single(target: FieldDescriptor) -> Convert | None:
    if (enum := target.enum_type) is not None:
        return lambda value: numbers_of(type(value), enum)[value] if isinstance(value, Enum) else value
    if target.message_type is None:
        return _text if target.type == FieldDescriptor.TYPE_STRING else None
    if type_of(target) in _AS_GIVEN:
        return None
    if type_of(target) == _STRUCT:
        return _struct
    return _nested(GetMessageClass(target.message_type))


def _nested(message_class: type[Message]) -> Convert:
    return lambda value: value if isinstance(value, Message) else to_message(message_class, value)


def _items(single: Convert | None) -> Convert:
    def convert(values: Any) -> list[Any]:  # noqa: ANN401 - items of any type
        items = values if single is None else map(single, values)
        return sorted(items) if isinstance(values, AbstractSet) else list(items)

    return convert


def _mapping(single: Convert | None) -> Convert:
    if single is None:
        return dict
    return lambda values: {key: single(value) for key, value in values.items()}


def _text(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _struct(value: Any) -> Any:  # noqa: ANN401 - what JSON holds
    if isinstance(value, Mapping):
        return {name: _struct(each) for name, each in value.items()}
    return [_struct(each) for each in value] if isinstance(value, list | tuple) else value


def _seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def _choose(message_class: type[Message], members: Sequence[str], values: dict[str, Any]) -> None:
    """Leave one member of a oneof: the only one, or the only one that says more than its default."""
    present = [name for name in members if values.get(name) is not None]
    if len(present) < 2:  # noqa: PLR2004 - nothing to choose
        return
    chosen = [name for name in present if values[name]]
    if len(chosen) > 1:
        message = f"{message_class.DESCRIPTOR.full_name} takes one of {', '.join(members)}: got {', '.join(chosen)}"
        raise ValueError(message)
    for name in present:
        if name not in chosen:
            del values[name]
