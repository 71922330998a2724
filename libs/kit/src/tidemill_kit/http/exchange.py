"""What happens around every HTTP request: trace, project, errors, one line of log, metrics, and clients that leave."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import structlog
from opentelemetry.trace import Span, SpanKind, StatusCode
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidemill_core.application import Caller
from tidemill_core.errors import DependencyUnavailable, Internal, TidemillError, Unauthenticated, isolated
from tidemill_core.grpc.context import AUTHORIZATION, PROJECT_SLUG, bind_call
from tidemill_core.tracing import TRACEPARENT
from tidemill_kit.access.access import Access
from tidemill_kit.access.authenticator import Authenticated
from tidemill_kit.access.credentials import Credentials
from tidemill_kit.access.errors import CredentialMissing, ProjectDeleted
from tidemill_kit.access.policy import Policy
from tidemill_kit.audit.calls import is_audited
from tidemill_kit.audit.recording import NoAudit
from tidemill_kit.grpc.admission import Admission
from tidemill_kit.http.callers import check_host, named_project
from tidemill_kit.http.encodings import decoded
from tidemill_kit.http.errors import BodyTooLarge, BodyTooSlow, ErrorResponse, LengthsContradict
from tidemill_kit.runtime import telemetry

HTTP_REQUESTS = Counter("tidemill_http_requests", "HTTP requests answered.", ["route", "status"])
HTTP_SECONDS = Histogram("tidemill_http_request_seconds", "Time from a request's arrival to its end.", ["route"])

DEFAULT_STALL_S = 30.0

UNMATCHED = "unmatched"
"""The route of a request for which there is none; its path, which may say anything, is never logged."""

_EXCHANGE = "tidemill.exchange"
_CLIENT_LEFT = 499  # as nginx does; only for log and metrics
_FAULTS = 500
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_log = structlog.get_logger()


class ClientLeft(Exception):
    """The client has disconnected."""


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request on its way through; `facts` is what a handler adds to its line of log."""

    scope: Scope
    receive: Receive
    outgoing: Send
    stall_s: float
    access: Access
    admission: Admission | None = None
    ended: Unauthenticated | None = None
    """Why the request ends early: the credential was revoked, or has expired, after it was accepted."""
    unregister: Callable[[], None] = lambda: None
    started: float = field(default_factory=time.perf_counter)
    status: int = 0
    reason: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    reply_headers: dict[str, str] = field(default_factory=dict)
    """What the answer says before its body, beside what its handler sends."""

    @classmethod
    def of(cls, scope: Scope) -> "Exchange":
        """Return the exchange that a request belongs to."""
        exchange: Exchange = scope[_EXCHANGE]
        return exchange

    @property
    def route(self) -> str:
        """The declared route."""
        return str(getattr(self.scope.get("route"), "path", UNMATCHED))

    @property
    def method(self) -> str:
        """The method, unless it is one that HTTP does not know."""
        method = str(self.scope["method"])
        return method if method in _METHODS else "_OTHER"

    @property
    def address(self) -> str:
        """The address of the caller, or of the proxy before it."""
        client = self.scope.get("client")
        return str(client[0]) if client else ""

    @property
    def headers(self) -> Headers:
        """What the caller sent before the body."""
        return Headers(scope=self.scope)

    def header(self, name: str) -> str:
        """Return the caller's value, or ""."""
        return self.headers.get(name, "")

    @property
    def anonymous(self) -> bool:
        """Whether no credential is shown: nothing is said of what a project has."""
        return AUTHORIZATION not in self.headers

    async def admit(
        self,
        policy: Policy,
        *,
        has_token: bool = False,
        seen: Callable[[Caller], None] | None = None,
    ) -> Caller:
        """Return who calls, and be that caller for the rest of the request, which has no deadline of its own.

        `policy` is what the RPC declares that the route stands for. `has_token` says that the route accepts a
        token of its own, bound to one resource, in place of a credential, and checks it. `seen` gets the caller, also
        one who is refused: who passes it audits the call.

        Raises:
            NoAudit: the RPC is audited, which only its own route (`HttpRpcs`) records.
            InvalidInput: two projects are named.
            Unauthenticated, PermissionDenied, DependencyUnavailable: as the credential says.
            ProjectDeleted: it was deleted, and a token is shown.

        """
        if is_audited(policy) and seen is None:
            message = f"{policy.method} is audited, and this route would record nothing: serve it by HttpRpcs"
            raise NoAudit(message)
        in_path = self.scope.get("path_params", {}).get("project", "")
        if has_token and self.anonymous:
            caller = Caller(project=_required(named_project(self.headers, in_path)))
            if self.access.revocations.deleted(caller.project):  # tokens of its own are in no list of revocations
                raise ProjectDeleted(caller.project)
        else:
            project = named_project(self.headers, in_path)
            sent = Credentials.sent(self.headers.getlist, project=project, address=self.address)
            authenticated = await self.access.admit(sent, policy, seen=seen or (lambda _: None))
            caller = authenticated.caller
            self._end_with_credential(authenticated)
        structlog.contextvars.bind_contextvars(project=caller.project)
        if self.admission is not None:
            await (self.admission.anonymous(self.address) if self.anonymous else self.admission.request(caller))
        bind_call(caller, remaining_s=None)
        return caller

    def _end_with_credential(self, authenticated: Authenticated) -> None:
        task = asyncio.current_task()

        def end(error: Unauthenticated) -> None:
            if self.ended is None and task is not None:
                self.ended = error
                task.cancel()

        self.unregister = self.access.running.register(authenticated.claims, end)

    async def body(self, *, at_most: int) -> bytes:
        """Return the body.

        Raises:
            BodyTooLarge: it has more than `at_most` bytes, as it comes or inflated.
            EncodingNotSupported: it is compressed in a way that is not known.
            BodyTooSlow: it did not come in time.
            ClientLeft: it did not come at all.

        """
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self.stall_s):
                while more:
                    message = await self.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientLeft
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > at_most:
                        raise BodyTooLarge(limit=at_most)
        except TimeoutError as error:
            text = f"the body did not come within {self.stall_s:g} s: send it again"
            raise BodyTooSlow(text) from error
        return decoded(bytes(body), self.header("content-encoding"), max_bytes=at_most)

    async def send(self, message: Message) -> None:
        """Send a part of the answer, with the trace's id as its `x-request-id`.

        Raises:
            ClientLeft: it is not taken in time.

        """
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers.update(self.reply_headers)
            if trace_id := telemetry.trace_id():
                headers["x-request-id"] = trace_id
        try:
            async with asyncio.timeout(self.stall_s):
                await self.outgoing(message)
        except TimeoutError as error:
            raise ClientLeft from error

    @asynccontextmanager
    async def attended(self) -> AsyncIterator[None]:
        """Cancel the block as soon as the client leaves.

        Raises:
            ClientLeft: it did.
            DependencyUnavailable: the server was stopped meanwhile.
            Unauthenticated: the credential was revoked meanwhile, or has expired.

        """
        block = asyncio.current_task()
        assert block is not None  # noqa: S101 - a coroutine runs in a task
        left = False

        async def watch() -> None:
            nonlocal left
            while (await self.receive())["type"] != "http.disconnect":
                pass
            left = True
            block.cancel()

        watching = asyncio.create_task(watch())
        try:
            yield
        except asyncio.CancelledError as error:
            # Not raised further: this is the root of the request's task, and a connected client gets the error.
            block.uncancel()
            if left:
                raise ClientLeft from error
            if self.ended is not None:
                raise self.ended from error
            message = "the service is stopping: try again"
            raise DependencyUnavailable(message, dependency="server") from error
        finally:
            watching.cancel()
            await asyncio.wait({watching})

    @contextmanager
    def hiding(self) -> Iterator[None]:
        """Log an unexpected error once with its stack, and return only its trace id."""
        try:
            with isolated():
                yield
        except (TidemillError, ClientLeft):
            raise
        except Exception as error:
            _log.error("http_request_failed", route=self.route, exc_info=error)
            message = f"internal error; the service's log has it under trace {telemetry.trace_id()}"
            raise Internal(message) from error


class HttpEdge:
    """The middleware around every request.

    A client that stalls longer than `stall_s`, sending its body or receiving the answer, counts as disconnected.
    `access` checks credentials, and `admission` counts requests. `hosts` are the served host names, see `check_host`,
    and `hosts_setting` is where they are set.
    """

    def __init__(  # noqa: PLR0913 - all that an API chooses
        self,
        app: ASGIApp,
        *,
        error_response: ErrorResponse,
        hosts: Collection[str],
        hosts_setting: str,
        access: Access,
        admission: Admission | None = None,
        stall_s: float = DEFAULT_STALL_S,
    ) -> None:
        self._access = access
        self._admission = admission
        self._app = app
        self._error_response = error_response
        self._hosts_setting = hosts_setting
        self._stall_s = stall_s
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        structlog.contextvars.clear_contextvars()
        exchange = Exchange(
            scope=scope,
            receive=receive,
            outgoing=send,
            stall_s=self._stall_s,
            access=self._access,
            admission=self._admission,
        )
        scope[_EXCHANGE] = exchange
        with _observed(exchange):
            try:
                await self._answer(exchange)
            except ClientLeft:
                exchange.status = _CLIENT_LEFT
            finally:
                exchange.unregister()
                del scope[_EXCHANGE]  # else both, and all they hold, wait for a collection of cyclic garbage

    async def _answer(self, exchange: Exchange) -> None:
        try:
            with exchange.hiding():
                check_host(exchange.headers, self._hosts, setting=self._hosts_setting)
                if "content-length" in exchange.headers and "transfer-encoding" in exchange.headers:
                    raise LengthsContradict
                await self._app(exchange.scope, exchange.receive, exchange.send)
        except TidemillError as error:
            await self._refuse(exchange, error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if exchange.ended is None or task is None or exchange.status:
                raise
            task.uncancel()
            await self._refuse(exchange, exchange.ended)

    async def _refuse(self, exchange: Exchange, error: TidemillError) -> None:
        exchange.reason = error.reason
        await self._error_response(error)(exchange.scope, exchange.receive, exchange.send)


def _required(project: str) -> str:
    if not PROJECT_SLUG.fullmatch(project):
        raise CredentialMissing
    return project


@contextmanager
def _observed(exchange: Exchange) -> Iterator[None]:
    """Put a span, one line of log and the metrics around a request."""
    parent, about = exchange.header(TRACEPARENT), {"http.request.method": exchange.method}
    with telemetry.span(exchange.method, parent=parent, kind=SpanKind.SERVER, **about) as span:
        try:
            yield
        finally:
            _record(exchange, span)


def _record(exchange: Exchange, span: Span) -> None:
    duration_s = time.perf_counter() - exchange.started
    HTTP_REQUESTS.labels(exchange.route, str(exchange.status)).inc()
    HTTP_SECONDS.labels(exchange.route).observe(duration_s)
    span.update_name(f"{exchange.method} {exchange.route}")
    span.set_attributes({"http.route": exchange.route, "http.response.status_code": exchange.status})
    if exchange.status >= _FAULTS:
        span.set_status(StatusCode.ERROR)
    facts = {"method": exchange.method, "path": exchange.route, "status": exchange.status}
    learnt = {"reason": exchange.reason, **exchange.facts}
    log = _log.debug if exchange.route.startswith("/healthz") else _log.info
    log(
        "http_request_finished",
        duration_s=round(duration_s, 4),
        **facts,
        **{name: value for name, value in learnt.items() if value},
    )
