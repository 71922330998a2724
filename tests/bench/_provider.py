"""A provider of OpenAI's chat completions for measurements: always the same answer, as cheaply as Python can give it.

Run as `python -m tests.bench._provider PORT [--words 16] [--delay-ms 0]`. It reads nothing of a request but its length
and whether it asks for a stream; a word is a chunk of a stream. The delay is before the answer begins.
"""

import argparse
import asyncio
import json
from typing import Any, cast

import uvloop

_HEAD = "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
_COMMON = {"id": "chatcmpl-bench", "created": 1_780_000_000, "model": "mock"}


def reply(words: int, *, streamed: bool) -> bytes:
    """Return all bytes of an answer of so many words."""
    said = [f"word{number} " for number in range(words)]
    usage = {"prompt_tokens": 12, "completion_tokens": words, "total_tokens": 12 + words}
    if not streamed:
        message = {"role": "assistant", "content": "".join(said)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return _whole(
            "application/json",
            json.dumps({**_COMMON, "object": "chat.completion", "choices": [choice], "usage": usage}),
        )
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": word} for word in said)]
    events = [_chunk([{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
    events.append(_chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    events.append(_chunk([], usage=usage))
    return _whole("text/event-stream", "".join(f"data: {event}\n\n" for event in (*events, "[DONE]")))


def _chunk(choices: list[dict[str, Any]], **more: object) -> str:
    return json.dumps({**_COMMON, "object": "chat.completion.chunk", "choices": choices, **more})


def _whole(kind: str, body: str) -> bytes:
    sent = body.encode()
    return _HEAD.format(kind=kind, length=len(sent)).encode() + sent


class Provider(asyncio.Protocol):
    """One connection; its requests are answered in their order."""

    def __init__(self, whole: bytes, streamed: bytes, delay_s: float) -> None:
        self._whole, self._streamed, self._delay_s = whole, streamed, delay_s
        self._read = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        """Answer every request that is there as a whole."""
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._read[:end]).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            if len(self._read) < end + 4 + length:
                return
            body = bytes(self._read[end + 4 : end + 4 + length])
            del self._read[: end + 4 + length]
            streams = b'"stream":true' in body.replace(b" ", b"")
            answer = self._streamed if streams else self._whole
            if self._delay_s:
                asyncio.get_running_loop().call_later(self._delay_s, self._write, answer)
            else:
                self._write(answer)

    def _write(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


async def main(port: int, words: int, delay_s: float) -> None:
    """Serve until the process is ended."""
    whole, streamed = reply(words, streamed=False), reply(words, streamed=True)
    server = await asyncio.get_running_loop().create_server(
        lambda: Provider(whole, streamed, delay_s), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--words", type=int, default=16)
    parser.add_argument("--delay-ms", type=float, default=0)
    given = parser.parse_args()
    uvloop.run(main(given.port, given.words, given.delay_ms / 1000))
