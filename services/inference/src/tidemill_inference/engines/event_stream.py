"""The JSON of server-sent events (WHATWG HTML, 9.2) as OpenAI-compatible servers send it, bounded in each event."""

import json
from collections.abc import Iterator

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""What an endpoint may send before an empty line ends an event."""
MAX_EVENT_PARTS = 32 * 1024
"""The most objects and lists in one event: converting them to Python's blocks the event loop."""
_DATA = b"data:"
_DONE = b"[DONE]"


class EventTooLarge(ValueError):
    """An event exceeds a limit."""


class EventStream:
    """Reads one stream; `has_new` says whether the bytes fed last ended an event, `done` whether the last one came."""

    def __init__(self) -> None:
        self._rest = b""
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
        *lines, self._rest = (self._rest + data).split(b"\n")
        for ended in lines:
            if line := ended.removesuffix(b"\r"):
                if line.startswith(_DATA):
                    self._lines.append(line[len(_DATA) :])
                continue
            event, self._lines = b"\n".join(self._lines), []
            self.has_new = self.has_new or bool(event)
            if event.lstrip().startswith(_DONE):
                self.done = True
                return
            if event:
                if event.count(b"{") + event.count(b"[") > MAX_EVENT_PARTS:
                    raise EventTooLarge(MAX_EVENT_PARTS)
                yield json.loads(event.decode())
        if len(self._rest) + sum(map(len, self._lines)) > MAX_EVENT_BYTES:
            raise EventTooLarge(MAX_EVENT_BYTES)
