"""Server-sent events however they are cut, and none that are too large."""

import pytest

from tidemill_inference.engines import event_stream
from tidemill_inference.engines.event_stream import EventStream, EventTooLarge

SENT = (
    'event: x\ndata: {"a": "ä"}\n\n: comment\r\n\r\ndata:[1,\r\ndata: 2]\r\n\r\nid: 1\n\ndata: [DONE]\n\ndata: 7\n\n'
).encode()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_are_the_same_however_their_bytes_come(size: int) -> None:
    stream, said = EventStream(), list[object]()
    for start in range(0, len(SENT), size):
        if not stream.done:
            said += stream.feed(SENT[start : start + size])

    assert said == [{"a": "ä"}, [1, 2]]
    assert stream.done


def test_comments_are_nothing_new() -> None:
    stream = EventStream()
    for sent, is_new in ((b": still here\n\n", False), (b"data: 1\n\n", True), (b"\n\n", False), (b"data: 2", False)):
        list(stream.feed(sent))
        assert stream.has_new == is_new


def test_an_event_that_does_not_end_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "MAX_EVENT_BYTES", 100)
    for sent in (b"data: " + b"x" * 60, b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n"):
        stream = EventStream()
        list(stream.feed(sent))
        with pytest.raises(EventTooLarge):
            list(stream.feed(sent))


def test_lines_without_data_count_towards_an_event_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "MAX_EVENT_BYTES", 100)

    with pytest.raises(EventTooLarge):
        list(EventStream().feed(b"data:\n" * 30))


def test_an_event_of_very_many_values_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "MAX_EVENT_VALUES", 5)

    assert list(EventStream().feed(b"data: [1,1,1,1,1,1]\n\n")) == [[1] * 6]
    with pytest.raises(EventTooLarge):
        list(EventStream().feed(b"data: [1,1,1,1,1,1,1]\n\n"))
