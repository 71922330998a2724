"""Calls of any RPC of a running stack, by its descriptor, with bytes that need not be a message."""

import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2, status_pb2

from tidemill_client.connection import SERVICES, Addresses
from tidemill_core.errors import named
from tidemill_testkit.contract import all_methods

LIMIT_S = 20.0
MIN_CUT = 24
"""Of the values that errors cut, the shortest part that they show."""
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
METHODS = {f"{method.containing_service.full_name}/{method.name}": method for method in all_methods()}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call ended with: a code, the reason and text of an error, and the replies until then."""

    code: str
    reason: str = ""
    text: str = ""
    body: bytes = b""

    def without(self, *values: str) -> "Answer":
        """Return the answer without these values, of which errors show a part or a digest, and without their ids."""
        text = self.text
        for value in values:
            for shown in (named(value), value, repr(value)[1:-1]):
                ends = (end for end in range(len(shown), min(len(shown), MIN_CUT) - 1, -1) if shown[:end] in text)
                if (end := next(ends, 0)) > 0:
                    text = text.replace(shown[:end], "?")
        return Answer(self.code, self.reason, UUID.sub("?", text))


class Calls:
    """Calls with one credential, on a channel to each service."""

    def __init__(self, addresses: Addresses, token: str) -> None:
        self._channels = {name: grpc.insecure_channel(addresses.of(name)) for name in SERVICES}
        self.token = token
        self._bearer = (("authorization", f"Bearer {token}"),) if token else ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels.values():
            channel.close()

    def __call__(self, method: str, *requests: bytes, service: str = "", **metadata: str) -> Answer:
        """Call an RPC with a request, or several where it takes a stream."""
        declared = METHODS[method]
        arity = f"{_arity(declared.client_streaming)}_{_arity(declared.server_streaming)}"
        start = getattr(self._channels[service or service_of(declared)], arity)(f"/{method}", None, None)
        more = ((name.replace("_", "-"), value) for name, value in metadata.items())
        request: Any = iter(requests) if declared.client_streaming else requests[0]
        body = b""
        try:
            replies = start(request, metadata=(*self._bearer, *more), timeout=LIMIT_S)
            for reply in replies if declared.server_streaming else (replies,):
                body += reply
        except grpc.RpcError as error:
            code, text = error.code(), error.details() or ""
            return Answer(code.name, _reason(error), text, body)
        return Answer("OK", body=body)


def service_of(method: MethodDescriptor) -> str:
    """Return the service that serves an RPC; StatusService is served by all, ingest stands for them."""
    named = method.full_name.split(".")[1]
    return named if named in SERVICES else "ingest"


_OTHER_HEX = str.maketrans("123456789abcdf", "234567891bcdfa")


def absent(value: str) -> str:
    """Return another value of the same form and length, which a parser refuses with the same words.

    Letters stay letters and digits digits; an id's version and variant, zeros and the e of an exponent stay.
    """
    try:
        uuid.UUID(value)
    except ValueError:
        return "".join(_turned(value))
    other = value.lower().translate(_OTHER_HEX)
    kept = (14, 19) if "-" in value else (12, 16)
    return "".join(value[place] if place in kept else each for place, each in enumerate(other))


def _turned(value: str) -> Iterator[str]:
    kind, colon, name = value.rpartition(":")
    name, at, version = name.partition("@") if "@" in name and name.rpartition("@")[2].isdecimal() else (name, "", "")
    yield kind + colon
    for each in name:
        yield "abcdefghijklmnopqrstuvwxyz"[(ord(each) - 97 + 13) % 26] if each.isascii() and each.islower() else each
    yield at + version


def texts_of(message: Any) -> Iterable[tuple[str, str]]:  # noqa: ANN401 - of any type
    """Yield every text in a message with the name of its field."""
    for field, value in message.ListFields():
        for each in _each(field, value):
            if isinstance(each, str):
                yield field.name, each
            elif hasattr(each, "ListFields"):
                yield from texts_of(each)


def _each(field: Any, value: Any) -> Iterable[Any]:  # noqa: ANN401 - as protobuf has it
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return [*value.keys(), *value.values()]
    return value if field.is_repeated else [value]


def _arity(streams: bool) -> str:  # noqa: FBT001 - the name of a method of grpc
    return "stream" if streams else "unary"


def _reason(error: Any) -> str:  # noqa: ANN401 - grpc's own
    packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    info = error_details_pb2.ErrorInfo()
    if isinstance(packed, bytes) and (details := status_pb2.Status.FromString(packed).details):
        details[0].Unpack(info)
    return str(info.reason)
