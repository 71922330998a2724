import base64
import json
from datetime import UTC, datetime

import pytest

from tidemill_kit.events.cloudevents import CloudEvent, InvalidEvent, from_record, to_headers

ARRIVED = datetime(2026, 11, 20, 10, 15, tzinfo=UTC)
EVENT = CloudEvent(
    id="e1",
    source="https://cms.acme.example/kb",
    type="tests.line.written.v1",
    subject="kb/ä",
    project="acme",
    time=datetime(2026, 11, 20, 10, 0, tzinfo=UTC),
    data=b'{"number": 1}',
    seq=7,
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    extensions={"tenant": "x"},
)


def envelope(**changes: object) -> bytes:
    attributes = {
        "specversion": "1.0",
        "id": "e1",
        "source": "s",
        "type": "t",
        "subject": "kb/1",
        "project": "acme",
        "sequence": "7",
        "data": {"number": 12345678901234567890},
    }
    return json.dumps({name: value for name, value in (attributes | changes).items() if value is not None}).encode()


STRUCTURED = [("content-type", b"application/cloudevents+json; charset=utf-8")]


def test_binary_mode_carries_everything_there_and_back() -> None:
    assert from_record(EVENT.data, to_headers(EVENT), arrive_time=ARRIVED) == EVENT


def test_structured_mode_is_read_like_binary_mode() -> None:
    event = from_record(envelope(), STRUCTURED, arrive_time=ARRIVED)

    assert (event.id, event.project, event.seq, event.time) == ("e1", "acme", 7, ARRIVED)
    assert json.loads(event.data) == {"number": 12345678901234567890}


def test_structured_data_may_be_base64_or_text() -> None:
    encoded = envelope(data=None, data_base64=base64.b64encode(b'{"number": 1}').decode())
    text = envelope(data="hello", datacontenttype="text/plain")

    assert from_record(encoded, STRUCTURED, arrive_time=ARRIVED).data == b'{"number": 1}'
    assert from_record(text, STRUCTURED, arrive_time=ARRIVED).data == b"hello"


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type", "subject", "project"])
def test_each_missing_attribute_is_named(name: str) -> None:
    headers = [(header, value) for header, value in to_headers(EVENT) if header != f"ce_{name}"]

    with pytest.raises(InvalidEvent) as refused:
        from_record(EVENT.data, headers, arrive_time=ARRIVED)

    assert [violation.field for violation in refused.value.violations] == [name]
    assert refused.value.attributes["datacontenttype"] == "application/json"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("specversion", b"0.3"),
        ("id", b"x" * 1025),
        ("source", b"\xff\xfe"),
        ("subject", b"a\nb"),
        ("project", b"No Project"),
        ("time", b"yesterday"),
        ("time", b"2026-11-20T10:15:00"),
    ],
)
def test_each_unusable_attribute_is_named(name: str, value: bytes) -> None:
    headers = [(header, value if header == f"ce_{name}" else known) for header, known in to_headers(EVENT)]

    with pytest.raises(InvalidEvent) as refused:
        from_record(EVENT.data, headers, arrive_time=ARRIVED)

    assert [violation.field for violation in refused.value.violations] == [name]


@pytest.mark.parametrize("name", ["ce_project", "ce_source", "ce_x", "content-type", "Content-Type"])
def test_an_attribute_that_is_sent_twice_is_refused(name: str) -> None:
    headers = [*to_headers(EVENT), ("ce_x", b"1"), (name, b"application/json")]

    with pytest.raises(InvalidEvent, match="is sent 2 times: send it once") as refused:
        from_record(EVENT.data, headers, arrive_time=ARRIVED)

    assert refused.value.attributes.keys().isdisjoint({violation.field for violation in refused.value.violations})


def test_an_envelope_may_repeat_what_the_headers_say_and_nothing_else() -> None:
    same = [*STRUCTURED, ("ce_project", b"acme")]
    other = [*STRUCTURED, ("ce_project", b"umbrella")]

    assert from_record(envelope(), same, arrive_time=ARRIVED).project == "acme"
    with pytest.raises(InvalidEvent, match="project: is another one in the headers"):
        from_record(envelope(), other, arrive_time=ARRIVED)


@pytest.mark.parametrize("value", [None, b""])
def test_a_tombstone_is_no_event(value: bytes | None) -> None:
    with pytest.raises(InvalidEvent, match="data: is empty"):
        from_record(value, to_headers(EVENT), arrive_time=ARRIVED)


@pytest.mark.parametrize(
    ("value", "content_type"),
    [
        (b"{", b"application/cloudevents+json"),
        (b"[]", b"application/cloudevents+json"),
        (b"\xff", b"application/cloudevents+json"),
        (b"[" * 100_000, b"application/cloudevents+json"),
        (envelope()[:-1] + b', "project": "umbrella"}', b"application/cloudevents+json"),
        (envelope(data=None, data_base64="?"), b"application/cloudevents+json"),
        (envelope(data=None), b"application/cloudevents+json"),
        (b"[]", b"application/cloudevents-batch+json"),
        (b"", b"application/cloudevents+avro"),
        (None, b"application/cloudevents+json"),
    ],
)
def test_structured_nonsense_is_refused(value: bytes | None, content_type: bytes) -> None:
    with pytest.raises(InvalidEvent):
        from_record(value, [("content-type", content_type)], arrive_time=ARRIVED)


def test_what_is_not_text_names_nothing() -> None:
    with pytest.raises(InvalidEvent) as refused:
        from_record(envelope(subject="\ud800", type=None), STRUCTURED, arrive_time=ARRIVED)

    assert "subject" not in refused.value.attributes
    assert refused.value.attributes["id"] == "e1"


def test_a_sequence_that_is_no_number_is_no_seq() -> None:
    headers = [(name, b"abc" if name == "ce_sequence" else value) for name, value in to_headers(EVENT)]

    assert from_record(EVENT.data, headers, arrive_time=ARRIVED).seq is None
