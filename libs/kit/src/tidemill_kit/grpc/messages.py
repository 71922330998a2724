"""A handler's messages, in both directions: parsed behind the edge, and never waited for without end."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from google.protobuf.message import DecodeError, Message

from tidemill_core.errors import DeadlineExceeded, InvalidInput

Parse = Callable[[bytes], object]

_CANCELLATION_S = 0.02
"""How far the cancellation of a stream may be behind its end, on the same connection."""
_FIRST_S = 1.0
"""How long the end of a call waits for the first message of its reply to be written."""


class UnreadableMessage(InvalidInput):
    """The bytes of a request are no message of its RPC."""

    reason = "UNREADABLE_MESSAGE"


class ReplyTooLarge(InvalidInput):
    """The reply is above the limit of a message: as often as the call is made."""

    reason = "REPLY_TOO_LARGE"

    def __init__(self, *, size: int, limit: int) -> None:
        super().__init__(
            f"the reply has {size} bytes, above the limit of {limit} (MAX_MESSAGE_BYTES): request less at once, such as"
            " a smaller page; what the call changes is changed",
            size=size,
            limit=limit,
        )


def parsed(raw: bytes, parse: Parse) -> object:
    """Return the message of these bytes.

    Raises:
        UnreadableMessage: there is none in them, or it is nested too deep.

    """
    try:
        return parse(raw)
    except DecodeError as error:
        message = f"the {len(raw)} bytes of the request are not a message of this RPC: send its request message"
        raise UnreadableMessage(message) from error


async def received(stream: AsyncIterator[bytes], parse: Parse, *, idle_s: float) -> AsyncIterator[object]:
    """Yield a request stream's messages until its client ends it.

    A stream that breaks off looks as if it had ended, until the cancellation arrives right behind it: that is waited
    for, else half of an upload counts as a whole one.

    Raises:
        UnreadableMessage: one is none.
        DeadlineExceeded: none came for too long.

    """
    while True:
        try:
            async with asyncio.timeout(idle_s):
                raw = await anext(stream)
        except StopAsyncIteration:
            await asyncio.sleep(_CANCELLATION_S)
            return
        except TimeoutError:
            message = f"no message was received on the stream for {idle_s:g} s: send it again, without such pauses"
            raise DeadlineExceeded(message) from None
        yield parsed(raw, parse)


def check_size(reply: object, *, limit: int) -> None:
    """Refuse a reply that gRPC would refuse to send, without saying why in our words.

    Raises:
        ReplyTooLarge: it is above the limit.

    """
    if isinstance(reply, Message) and (size := reply.ByteSize()) > limit:
        raise ReplyTooLarge(size=size, limit=limit)


async def produced(result: Any, write: Callable[[object], Any], *, idle_s: float) -> object:  # noqa: ANN401 - of any arity
    """Await a handler's reply, or write its stream at the pace of the reader.

    Raises:
        DeadlineExceeded: the reader took nothing for too long.

    """
    if not inspect.isasyncgen(result):
        return await result
    writing = _first(write)
    async with aclosing(result) as responses:
        async for response in responses:
            try:
                async with asyncio.timeout(idle_s):
                    await writing(response)
            except TimeoutError:
                message = f"the stream's reader read no message for {idle_s:g} s: call again"
                raise DeadlineExceeded(message) from None
            writing = write
    return None


def _first(write: Callable[[object], Any]) -> Callable[[object], Any]:
    """Return how the first message is written: to its end, also where the call ends meanwhile.

    It has the headers with it. Were it cut off, gRPC would send them once more with the status, which fails: the caller
    would wait until its deadline.
    """

    async def written(message: object) -> None:
        task = asyncio.ensure_future(write(message))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task}, timeout=_FIRST_S)
            task.cancel()
            raise

    return written
