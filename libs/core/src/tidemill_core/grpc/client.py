"""A channel to another service: it passes project, deadline and trace on, and raises the kit's errors."""

import asyncio
import json
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import Message

from tidemill.options.v1 import options_pb2
from tidemill_core.deadlines import remaining_s
from tidemill_core.errors import DependencyTimedOut, DependencyUnavailable, Internal, RateLimited, TidemillError
from tidemill_core.grpc.context import AUTHORIZATION, ON_BEHALF_OF, PERSON, PROJECT, acting_caller
from tidemill_core.grpc.credentials import Credential, NoCredential
from tidemill_core.grpc.status import from_rpc_error
from tidemill_core.tracing import TRACEPARENT, traceparent
from tidemill_core.transport_security import Tls

KEEPALIVE_MS = 20_000
KEEPALIVE_ANSWER_MS = 10_000
"""A peer that does not answer a ping for so long is gone: its calls end, and the next connection is opened."""

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    # While more than every tenth call meets UNAVAILABLE, nothing is tried again here: each hop would multiply the load.
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}

_ALMOST = 0.9
"""The part of a limit after which the other side's word that it has passed is the same as our own: clocks differ."""


def open_channel(  # noqa: PLR0913 - a channel is made of its parts, once
    address: str,
    *,
    name: str = "",
    project: str = "",
    timeout_s: float = 10.0,
    max_message_bytes: int = 16 * 1024 * 1024,
    tls: Tls | None = None,
    credential: Credential | None = None,
    on_behalf: bool = False,
    waits: bool = False,
) -> grpc.aio.Channel:
    """Return a channel for generated stubs; it connects by itself, whenever the other side is there.

    A call carries the `credential`, which names its project unless it is for all. With `on_behalf` it is a service's
    own, and the call names the person or account of `acting_as`, for whom it is made. In plain text it is
    sent on this machine only, unless `tls` allows more (`PlaintextRefused`).

    A call takes at most its `timeout=`, else `timeout_s`, and never longer than the caller who waits for it. It goes
    out for the project of `acting_as`, else for `project`; a call that needs a project and has none is not sent
    (`NoCaller`). UNAVAILABLE is tried again a few times; for that, a
    request with an empty `request_id` gets one, so that however often it arrives it has one effect. Awaiting a call or
    iterating over it raises the errors of `tidemill_core.errors`; `name` is what they call the other side. A call
    that takes too long although its caller still has time raises DependencyTimedOut: the other side hangs, or is
    overloaded. With `waits`, a call with one request that is refused for now (RateLimited) is sent again when the other
    side says, as long as its time lasts.
    """
    if credential is not None:
        (tls or Tls()).check_confidential(address)
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        ("grpc.enable_retries", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_ANSWER_MS),
        ("grpc.http2.max_pings_without_data", 0),  # answers may take longer than two pings
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
    ]
    credentials = tls.channel_credentials() if tls is not None else None
    if credentials is None:
        channel = grpc.aio.insecure_channel(address, options=options)
    else:
        channel = grpc.aio.secure_channel(address, credentials, options=options)
    sender = _Sender(project=project, credential=credential, on_behalf=on_behalf, name=name or address)
    return _Channel(channel, sender=sender, timeout_s=timeout_s, waits=waits)


_OF_SERVICES = frozenset({"SERVICE_NOT_ALLOWED", "ON_BEHALF_NOT_ALLOWED"})
"""Reasons why a service is refused, whatever its caller may do."""


class NoCaller(Internal):
    """A mistake of ours: a call that needs a project was sent outside `acting_as`."""

    reason = "NO_CALLER"

    def __init__(self, method: str) -> None:
        super().__init__(
            f"{method} was called without a project: call it within `with acting_as(caller)`", method=method
        )


class OwnCredentialUnusable(DependencyUnavailable):
    """Not the caller's credential is to blame, but that of the service that calls on: the caller waits for it."""

    reason = "OWN_CREDENTIAL_UNUSABLE"

    def __init__(self, dependency: str) -> None:
        super().__init__(
            f"{dependency} was called without a credential that it accepts: an operator has to renew this service's "
            "own token, in the file of ACCESS_CREDENTIAL_FILE",
            dependency=dependency,
        )


class ServiceRefused(DependencyUnavailable):
    """The other service does not let this one call it, which is a fault of the installation and not of its caller."""

    reason = "SERVICE_REFUSED"

    def __init__(self, dependency: str) -> None:
        super().__init__(
            f"{dependency} does not let this service call it: an operator has to run releases of both that belong "
            "together, each with its own token",
            dependency=dependency,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sender:
    """What a call says about who sends it."""

    project: str
    credential: Credential | None
    on_behalf: bool

    name: str
    """What errors call the other side."""

    def metadata(self, method: str, given: Collection[str], *, public: bool) -> dict[str, str]:
        """Return it, but for what the call was `given`.

        Raises:
            NoCaller: the call needs a project, and nothing names one.
            NoCredential, OwnCredentialUnusable: the file of the credential has none.

        """
        caller = acting_caller()
        project = caller.project if caller is not None else self.project
        ours = {PROJECT: project, TRACEPARENT: traceparent()}
        if self.credential is not None and not public:
            ours[AUTHORIZATION] = f"Bearer {self._sent(self.credential)}"
        if self.on_behalf and caller is not None and PERSON.fullmatch(caller.subject):
            ours[ON_BEHALF_OF] = caller.subject
        named_by_credential = self.credential is not None and not self.on_behalf
        if not (project or public or named_by_credential or PROJECT in given):
            raise NoCaller(method)
        return {key: value for key, value in ours.items() if value and key not in given}

    def _sent(self, credential: Credential) -> str:
        try:
            return credential()
        except NoCredential as error:
            if not self.on_behalf:
                raise
            raise OwnCredentialUnusable(self.name) from error

    def error(self, failure: grpc.aio.AioRpcError) -> TidemillError:
        """Return what a call ended with; what is wrong with this service itself is no error of its caller's."""
        if self.on_behalf and failure.code() == grpc.StatusCode.UNAUTHENTICATED:
            return OwnCredentialUnusable(self.name)
        error = from_rpc_error(failure, dependency=self.name)
        return ServiceRefused(self.name) if self.on_behalf and error.reason in _OF_SERVICES else error


class _Channel(grpc.aio.Channel):
    """Wraps a channel: client interceptors cannot raise other errors for calls of every arity."""

    def __init__(self, channel: grpc.aio.Channel, *, sender: _Sender, timeout_s: float, waits: bool) -> None:
        self._channel = channel
        self._waits = waits
        self._sender = sender
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 - grpc's
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

    def unary_unary(self, method: str, *made: Any, **how: Any) -> Any:  # noqa: ANN401 - typed by the generated stubs
        return self._calling(method, self._channel.unary_unary(method, *made, **how), waits=self._waits)

    def unary_stream(self, method: str, *made: Any, **how: Any) -> Any:  # noqa: ANN401 - typed by the generated stubs
        return self._calling(method, self._channel.unary_stream(method, *made, **how))

    def stream_unary(self, method: str, *made: Any, **how: Any) -> Any:  # noqa: ANN401 - typed by the generated stubs
        return self._calling(method, self._channel.stream_unary(method, *made, **how))

    def stream_stream(self, method: str, *made: Any, **how: Any) -> Any:  # noqa: ANN401 - typed by the generated stubs
        return self._calling(method, self._channel.stream_stream(method, *made, **how))

    def _calling(self, method: str, start: Callable[..., Any], *, waits: bool = False) -> Callable[..., "_Call"]:
        public = _is_public(method)

        def call(request: object = None, *, timeout: float | None = None, **how: Any) -> _Call:  # noqa: ANN401 - ditto
            at_most = self._timeout_s if timeout is None else timeout
            theirs = list(how.get("metadata") or ())
            ours = self._sender.metadata(method, {key for key, _ in theirs}, public=public)
            how["metadata"] = [*theirs, *ours.items()]
            left_s = remaining_s(at_most)
            limit_s = None if left_s < at_most else at_most
            sent = _repeatable(request)

            def begin(left_s: float) -> Any:  # noqa: ANN401 - a call of any arity
                return start(sent, timeout=left_s, **how)

            return _Call(begin, left_s=left_s, sender=self._sender, limit_s=limit_s, waits=waits)

        return call


class _Call:
    """A call under way; whatever is not awaiting or iterating is grpc's own.

    `limit_s` is how long it may take, None where its caller's own deadline comes first.
    """

    def __init__(
        self, begin: Callable[[float], Any], *, left_s: float, sender: _Sender, limit_s: float | None, waits: bool
    ) -> None:
        self._begin = begin
        self._call = begin(left_s)
        self._sender = sender
        self._limit_s = limit_s
        self._waits = waits
        self._begun = time.monotonic()
        self._until = self._begun + left_s

    def __await__(self) -> Generator[Any, None, object]:
        while True:
            try:
                return (yield from self._call.__await__())
            except grpc.aio.AioRpcError as failure:
                error = self._error(failure)
                pause_s = error.retry_after_s if self._waits and isinstance(error, RateLimited) else math.inf
                if time.monotonic() + pause_s >= self._until:
                    raise error from failure
            yield from asyncio.sleep(pause_s).__await__()
            self._call = self._begin(self._until - time.monotonic())

    async def __aiter__(self) -> AsyncIterator[object]:
        try:
            async for response in self._call:
                yield response
        except grpc.aio.AioRpcError as failure:
            raise self._error(failure) from failure
        finally:
            self._call.cancel()  # a reader who leaves early also ends the work on the other side

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - grpc's own
        return getattr(self._call, name)

    def _error(self, failure: grpc.aio.AioRpcError) -> TidemillError:
        late = failure.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        if late and self._limit_s is not None and time.monotonic() - self._begun > self._limit_s * _ALMOST:
            message = f"{self._sender.name} did not answer within {self._limit_s:g} s: try again later"
            return DependencyTimedOut(message, dependency=self._sender.name)
        return self._sender.error(failure)


def _is_public(method: str) -> bool:
    """Return whether an RPC needs no project: those that declare nothing are gRPC's own, such as health."""
    service, _, name = method.lstrip("/").partition("/")
    try:
        declared = descriptor_pool.Default().FindMethodByName(f"{service}.{name}").GetOptions().Extensions
    except KeyError:
        return True
    return declared[options_pb2.required_role] in (options_pb2.ROLE_UNSPECIFIED, options_pb2.ROLE_PUBLIC)


def _repeatable(request: object) -> object:
    """Return the request with a request id, where it takes one and has none."""
    if not isinstance(request, Message) or "request_id" not in request.DESCRIPTOR.fields_by_name:
        return request
    named = type(request)(request_id=str(uuid.uuid4()))
    named.MergeFrom(request)  # an empty id overwrites nothing
    return named
