"""Aggregates as stored documents: a codec made of a class, by cattrs."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from types import NoneType, UnionType
from typing import Any, Generic, NamedTuple, TypeVar, Union, get_args, get_origin

from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from google.protobuf.message import Message

from tidemill_core.aggregate import Aggregate, Event
from tidemill_kit.store.aggregates import Identity
from tidemill_kit.store.mongo import Document

A = TypeVar("A", bound=Aggregate)
_AS_STORED = frozenset({bool, int, float, str, bytes, datetime, object, Any})
Structure = Callable[[Any, Any], Any]
_IDENTITY = frozenset(each.name for each in fields(Identity))
_OF_AGGREGATES = frozenset(each.name for each in fields(Aggregate))


class FieldForm(NamedTuple):
    """How a field is stored where its type alone does not say so."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


as_json = FieldForm(lambda value: json.dumps(dict(value)), json.loads)
"""A mapping whose keys MongoDB may not take, as text."""

as_pairs = FieldForm(lambda value: [[key, each] for key, each in value.items()], dict)
"""A mapping whose keys MongoDB may not take, as a list of [key, value]."""


def as_entries(key: str, value: str) -> FieldForm:
    """Return the form of a mapping with free keys as a sorted list of `{key: ..., value: ...}`."""
    return FieldForm(
        lambda mapping: [{key: name, value: each} for name, each in sorted(mapping.items())],
        lambda entries: {entry[key]: entry[value] for entry in entries},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Where the stored form of a class differs from its fields.

    `renames` are the stored names of fields; `omits` are not stored and read as their default; `fields` are stored in a
    form of their own; `derived` are stored to be searched for and never read; `sparse` are not stored at their default.
    """

    renames: Mapping[str, str] = field(default_factory=dict)
    omits: Collection[str] = ()
    fields: Mapping[str, FieldForm] = field(default_factory=dict)
    derived: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    sparse: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """A union of dataclasses, distinguished by a field that the document has beside theirs."""

    tag: str
    classes: Mapping[str, type]


_PLAIN = Form()


class _AsIs:
    """Reads a value as it is stored. Being false, it is no call in the code that cattrs writes."""

    def __call__(self, value: object, _: object) -> object:
        return value

    def __bool__(self) -> bool:
        return False


_as_is: Structure = _AsIs()


def no_events(aggregate: Aggregate, event: Event, seq: int) -> tuple[str, Message]:
    """Refuse an event of an aggregate that publishes none.

    Raises:
        TypeError: always.

    """
    message = f"{type(aggregate).__name__} emits no events, and was given {type(event).__name__} {seq}"
    raise TypeError(message)


class DocumentCodec(Generic[A]):
    """Implements `store.aggregates.Codec`: fields under their names, and what `forms` say of a class otherwise.

    Enums are stored by value, a timedelta in seconds, sets as sorted lists, nested dataclasses as documents. A stored
    document that lacks a field is read with its default; what it has beside them is passed over. `enums_by_name` are
    stored by name. `on_write` changes the encoded state; `on_read` gets what is stored, the identity and the number
    of the form, and returns the state as this version writes it: upgrades are there.
    """

    def __init__(  # noqa: PLR0913 - said once per aggregate
        self,
        cls: type[A],
        forms: Mapping[type, Form] | None = None,
        *,
        event: Callable[[A, Event, int], tuple[str, Message]] = no_events,
        schema: int = 1,
        enums_by_name: Collection[type[Enum]] = (),
        unions: Mapping[Any, Tagged] | None = None,
        hooks: Mapping[Any, FieldForm] | None = None,
        on_write: Callable[[A, Document], Document] | None = None,
        on_read: Callable[[Document, Identity, int], Document] | None = None,
    ) -> None:
        """Compile the codec.

        Raises:
            TypeError: a form names a field that its class has not.

        """
        self.schema = schema
        self.event = event
        self._on_write, self._on_read = on_write, on_read
        self._cls = cls
        converter = _converter(forms or {}, enums_by_name)
        for union, tagged in (unions or {}).items():
            _add(converter, union, _tagged(converter, tagged))
        for hooked, form in (hooks or {}).items():
            _add(converter, hooked, form)
        self._unstructure: Callable[[A], Document] = converter.get_unstructure_hook(cls)
        self._structure: Callable[[Document, type[A]], A] = converter.get_structure_hook(cls)

    def encode(self, aggregate: A) -> Document:
        """See `Codec.encode`."""
        state = self._unstructure(aggregate)
        return state if self._on_write is None else self._on_write(aggregate, state)

    def decode(self, identity: Identity, state: Document, schema: int) -> A:
        """See `Codec.decode`."""
        if self._on_read is not None:
            state = self._on_read(state, identity, schema)
        return self._structure(state | identity.fields(), self._cls)


def _converter(forms: Mapping[type, Form], by_name: Collection[type[Enum]]) -> Converter:
    converter = Converter(
        detailed_validation=False,
        unstruct_collection_overrides={tuple: list, Sequence: list, AbstractSet: sorted},
    )
    converter.register_structure_hook_func(_is_as_stored, _as_is)
    converter.register_structure_hook_factory(_is_optional, partial(_optional_hook, converter))
    converter.register_structure_hook_factory(_is_tuple, partial(_tuple_hook, converter))
    converter.register_structure_hook_factory(_is_mapping, partial(_mapping_hook, converter))
    _add(converter, timedelta, FieldForm(timedelta.total_seconds, lambda seconds: timedelta(seconds=seconds)))
    converter.register_unstructure_hook_func(_is_open_union, _listed)
    converter.register_structure_hook_func(_is_open_union, lambda value, _: _tupled(value))
    for enum in by_name:
        _add(converter, enum, FieldForm(lambda member: member.name, enum.__getitem__))
    converter.register_unstructure_hook_factory(is_dataclass, partial(_unstructure_hook, converter, forms))
    converter.register_structure_hook_factory(is_dataclass, partial(_structure_hook, converter, forms))
    return converter


def _add(converter: Converter, hooked: Any, form: FieldForm) -> None:  # noqa: ANN401 - a type, or a union of types
    converter.register_unstructure_hook(hooked, form.encode)
    converter.register_structure_hook(hooked, _structuring(form))


def _structuring(form: FieldForm) -> Structure:
    return lambda value, _: form.decode(value)


def _tagged(converter: Converter, tagged: Tagged) -> FieldForm:
    names = {cls: name for name, cls in tagged.classes.items()}
    return FieldForm(
        lambda value: {tagged.tag: names[type(value)]} | converter.unstructure(value, type(value)),
        lambda stored: converter.structure(stored, tagged.classes[stored[tagged.tag]]),
    )


def _overrides(cls: Any, form: Form) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    """Return what differs, by field.

    Raises:
        TypeError: the form names a field that its class has not.

    """
    own = {each.name for each in fields(cls)}
    if unknown := {*form.renames, *form.omits, *form.fields, *form.sparse} - own:
        message = f"{cls.__name__} has no field {', '.join(sorted(unknown))}: correct its form"
        raise TypeError(message)
    return {
        name: override(
            rename=form.renames.get(name),
            omit=name in form.omits or None,
            omit_if_default=name in form.sparse or None,
            unstruct_hook=form.fields[name].encode if name in form.fields else None,
            struct_hook=_structuring(form.fields[name]) if name in form.fields else None,
        )
        for name in own & {*form.renames, *form.omits, *form.fields, *form.sparse}
    }


def _unstructure_hook(converter: Converter, forms: Mapping[type, Form], cls: Any) -> Callable[[Any], Document]:  # noqa: ANN401 - a dataclass
    form = forms.get(cls, _PLAIN)
    overrides = _overrides(cls, form)
    if issubclass(cls, Aggregate):
        overrides |= dict.fromkeys(_OF_AGGREGATES, override(omit=True))
    plain = make_dict_unstructure_fn(cls, converter, **overrides)
    derived = form.derived
    if not derived:
        return plain
    return lambda value: plain(value) | {name: derive(value) for name, derive in derived.items()}


def _structure_hook(converter: Converter, forms: Mapping[type, Form], cls: Any) -> Structure:  # noqa: ANN401 - a dataclass
    overrides = _overrides(cls, forms.get(cls, _PLAIN))
    if issubclass(cls, Aggregate):
        overrides |= dict.fromkeys(_IDENTITY, override(struct_hook=_as_is))
        overrides |= dict.fromkeys(_OF_AGGREGATES - _IDENTITY, override(omit=True))
    return make_dict_structure_fn(cls, converter, **overrides)


def _is_as_stored(cls: Any) -> bool:  # noqa: ANN401 - a type
    return cls in _AS_STORED


def _without_none(cls: object) -> Sequence[Any]:
    """Return the types of a union beside None; none where it is no union."""
    is_union = get_origin(cls) in {Union, UnionType}
    return [each for each in get_args(cls) if each is not NoneType] if is_union else []


def _is_optional(cls: object) -> bool:
    return len(_without_none(cls)) == 1


def _optional_hook(converter: Converter, cls: object) -> Structure:
    (inner,) = _without_none(cls)
    structure: Structure = converter.get_structure_hook(inner)
    return structure if structure is _as_is else lambda value, _: None if value is None else structure(value, inner)


def _is_tuple(cls: object) -> bool:
    return get_origin(cls) is tuple and get_args(cls)[-1] is Ellipsis


def _tuple_hook(converter: Converter, cls: object) -> Structure:
    item = get_args(cls)[0]
    structure: Structure = converter.get_structure_hook(item)
    if structure is _as_is:
        return lambda values, _: tuple(values)
    return lambda values, _: tuple([structure(value, item) for value in values])


def _is_mapping(cls: object) -> bool:
    return get_origin(cls) in {dict, Mapping}


def _mapping_hook(converter: Converter, cls: object) -> Structure:
    item = get_args(cls)[1]
    structure: Structure = converter.get_structure_hook(item)
    if structure is _as_is:
        return lambda values, _: dict(values)
    return lambda values, _: {key: structure(value, item) for key, value in values.items()}


def _is_open_union(cls: object) -> bool:
    """Return whether a type is a union of what a document holds as it is, as JSON's values are."""
    members = _without_none(cls)
    return len(members) > 1 and not any(is_dataclass(each) for each in members)


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _tupled(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
