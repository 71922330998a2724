"""Documents have the fields of the class under their names; a form says what differs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

import bson
import pytest
from bson.codec_options import CodecOptions

from tidemill_core.aggregate import Aggregate, Event, ObjectRef
from tidemill_kit.mapping import DocumentCodec, FieldForm, Form, Tagged, as_entries, as_json, as_pairs
from tidemill_kit.store.aggregates import Codec, Identity
from tidemill_kit.store.mongo import Document

MOMENT = datetime(2026, 11, 28, 12, 0, 0, 5000, tzinfo=UTC)


class State(Enum):
    OPEN = 1
    DONE = 2


class Kind(Enum):
    BIG = "big"


@dataclass(frozen=True, kw_only=True)
class Folder:
    path: str


@dataclass(frozen=True, kw_only=True)
class Hub:
    repository: str
    revision: str = "main"


Source = Folder | Hub
Value = bool | int | str | tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Point:
    step: int
    loss: float | None
    kinds: frozenset[Kind] = frozenset()


@dataclass(kw_only=True)
class Task(Aggregate):
    title: str
    state: State = State.OPEN
    content: ObjectRef | None = None
    points: tuple[Point, ...] = ()
    limit: timedelta | None = None
    due: datetime | None = None
    args: Mapping[str, Value] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    variables: Mapping[str, object] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    source: Source = field(default_factory=lambda: Hub(repository="a/b"))
    cached: str = ""
    deferred: Point | None = None
    newer: int = 3


A_TASK = Task(
    id="t",
    project="acme",
    version=4,
    seq=2,
    create_time=MOMENT,
    labels={"a": "b"},
    title="x",
    state=State.DONE,
    content=ObjectRef(bucket="b", key="k", size=3, sha256="s"),
    points=(Point(step=1, loss=0.5), Point(step=2, loss=None, kinds=frozenset({Kind.BIG}))),
    limit=timedelta(seconds=1.5),
    due=MOMENT,
    args={"modules": ("q", "v"), "rank": 8},
    names={"z.z": 1, "$a": 2},
    variables={"$where": {"a.b": [1]}},
    facts={"a.b": "c"},
    cached="computed",
    deferred=Point(step=9, loss=1.0),
)
STATE = {
    "title": "x",
    "state": "DONE",
    "content": {"bucket": "b", "key": "k", "size": 3, "sha256": "s"},
    "points": [{"step": 1, "loss": 0.5, "kinds": []}, {"step": 2, "loss": None, "kinds": ["big"]}],
    "limit": 1.5,
    "due": MOMENT,
    "args": {"modules": ["q", "v"], "rank": 8},
    "names": [{"name": "$a", "number": 2}, {"name": "z.z", "number": 1}],
    "variables": '{"$where": {"a.b": [1]}}',
    "facts": [["a.b", "c"]],
    "source": {"kind": "hub", "repository": "a/b", "revision": "main"},
    "owed": {"step": 9, "loss": 1.0, "kinds": []},
    "newer": 3,
    "waiting": 2,
}
FORM = Form(
    renames={"deferred": "owed"},
    omits={"cached"},
    fields={"names": as_entries("name", "number"), "variables": as_json, "facts": as_pairs},
    derived={"waiting": lambda task: len(task.points)},
)
UNIONS = {Source: Tagged(tag="kind", classes={"folder": Folder, "hub": Hub})}


def a_codec(**rest: Any) -> DocumentCodec[Task]:  # noqa: ANN401 - of the codec
    return DocumentCodec(Task, {Task: FORM}, enums_by_name={State}, unions=UNIONS, **rest)


def identity_of(task: Task) -> Identity:
    return Identity(**{name: getattr(task, name) for name in Identity.__slots__})


def stored(document: Document) -> Document:
    return bson.decode(bson.encode(document), codec_options=CodecOptions(tz_aware=True, tzinfo=UTC))


def test_the_stored_form_is_exactly_this() -> None:
    assert a_codec().encode(A_TASK) == STATE


def test_what_was_stored_is_read_back() -> None:
    codec: Codec[Task] = a_codec()
    read = codec.decode(identity_of(A_TASK), stored(codec.encode(A_TASK)), codec.schema)
    assert read == replace(A_TASK, cached="")


def test_the_identity_is_the_documents_own_and_not_the_states() -> None:
    state = a_codec().encode(A_TASK)
    assert not {"id", "project", "labels", "version", "seq", "create_time", "pending"} & state.keys()
    read = a_codec().decode(identity_of(A_TASK), state | {"version": 99, "pending": [1]}, 1)
    assert (read.version, read.pending) == (4, [])


def test_an_old_document_without_a_field_is_read_with_its_default() -> None:
    old = {name: value for name, value in STATE.items() if name not in {"newer", "args"}}
    read = a_codec().decode(identity_of(A_TASK), old, 1)
    assert (read.newer, read.args) == (3, {})


def test_a_document_without_a_field_that_has_no_default_is_not_read() -> None:
    with pytest.raises(KeyError, match="title"):
        a_codec().decode(identity_of(A_TASK), {}, 1)


def test_fields_that_a_newer_version_added_are_passed_over() -> None:
    assert a_codec().decode(identity_of(A_TASK), STATE | {"unheard_of": 1}, 1).title == "x"


def test_a_value_that_a_newer_version_added_is_not_read() -> None:
    with pytest.raises(KeyError):
        a_codec().decode(identity_of(A_TASK), STATE | {"state": "ARCHIVED"}, 1)
    with pytest.raises(KeyError):
        a_codec().decode(identity_of(A_TASK), STATE | {"source": {"kind": "s3"}}, 1)


def test_a_state_of_an_older_form_is_upgraded_before_it_is_read() -> None:
    def upgraded(state: Document, identity: Identity, schema: int) -> Document:
        return state if schema > 1 else state | {"title": f"{identity.id}: {state['name']}"}

    old = {"name": "first"}
    assert a_codec(schema=2, on_read=upgraded).decode(identity_of(A_TASK), old, 1).title == "t: first"


def test_an_encoded_state_can_be_changed_before_it_is_written() -> None:
    def flat(task: Task, state: Document) -> Document:
        return state | {"rank": task.args["rank"]}

    assert a_codec(on_write=flat).encode(A_TASK)["rank"] == 8


def test_a_hook_says_how_a_type_is_stored_wherever_it_stands() -> None:
    hook = FieldForm(lambda point: [point.step, point.loss], lambda pair: Point(step=pair[0], loss=pair[1]))
    codec = a_codec(hooks={Point: hook})
    task = replace(A_TASK, points=(Point(step=1, loss=0.5),), cached="")
    state = stored(codec.encode(task))
    assert (state["points"], state["owed"]) == ([[1, 0.5]], [9, 1.0])
    assert codec.decode(identity_of(task), state, 1) == task


def test_a_form_of_a_field_that_is_not_there_is_an_error_at_once() -> None:
    with pytest.raises(TypeError, match="Point has no field gone"):
        DocumentCodec(Task, {Task: FORM, Point: Form(omits={"gone"})}, unions=UNIONS)


def test_a_class_without_events_refuses_one() -> None:
    with pytest.raises(TypeError, match="Task emits no events, and was given Event 3"):
        a_codec().event(A_TASK, Event(occurred_at=MOMENT), 3)
