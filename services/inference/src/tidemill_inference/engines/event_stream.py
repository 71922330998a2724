"""The JSON of server-sent events (WHATWG HTML, 9.2) as OpenAI-compatible servers send it, bounded in each event."""

import json
from collections.abc import Iterator

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""What an endpoint may send before an empty line ends an event."""
MAX_EVENT_PARTS = 32 * 1024
"""The most objects and lists in one event: converting them to Python's blocks the event loop."""
MAX_EVENT_VALUES = 256 * 1024
"""The most commas in one event, those of its texts included: likewise."""
_DATA = b"data:"
_DONE = b"[DONE]"


class EventTooLarge(ValueError):
    """An event exceeds a limit."""


class EventStream:
    """Reads one stream; `has_new` says whether the bytes fed last ended an event, `done` whether the last one came."""

    def __init__(self) -> None:
        self._rest, self._size = bytearray(), 0
        self._lines: list[bytes] = []
        self.has_new = False
        self.done = False

    def feed(self, data: bytes) -> Iterator[object]:
        """Yield what each event says that has come as a whole; all of it is to be taken before more is fed.

        Raises:
            EventTooLarge: an event has too many bytes or parts.
            ValueError, RecursionError: it is no JSON.

        """
        self.has_new = False
        self._rest += data
        lines: list[bytes] = []
        if b"\n" in data:
            *lines, rest = bytes(self._rest).split(b"\n")
            self._rest = bytearray(rest)
        for ended in lines:
            if line := ended.removesuffix(b"\r"):
                self._size += len(line)
                if line.startswith(_DATA):
                    self._lines.append(line[len(_DATA) :])
                continue
            event, self._lines, self._size = b"\n".join(self._lines), [], 0
            self.has_new = self.has_new or bool(event)
            if event.lstrip().startswith(_DONE):
                self.done = True
                return
            if event:
                if event.count(b"{") + event.count(b"[") > MAX_EVENT_PARTS:
                    raise EventTooLarge(MAX_EVENT_PARTS)
                if event.count(b",") > MAX_EVENT_VALUES:
                    raise EventTooLarge(MAX_EVENT_VALUES)
                yield json.loads(event.decode())
        if len(self._rest) + self._size > MAX_EVENT_BYTES:
            raise EventTooLarge(MAX_EVENT_BYTES)
