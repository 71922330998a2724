"""How an edge records its audited calls: what is stored before the handler runs, and after it."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from urllib.parse import unquote

from google.protobuf.message import Message

from tidemill_core.errors import TidemillError
from tidemill_core.grpc.status import code_of
from tidemill_kit.access.policy import Policy
from tidemill_kit.audit.calls import AuditedCall, audited, current, is_audited
from tidemill_kit.audit.digests import etag_sent, reply_state, request_digest
from tidemill_kit.audit.trail import AuditTrail
from tidemill_kit.runtime import telemetry


class NoAudit(RuntimeError):
    """A mistake of ours: an API with audited RPCs was put together without an audit trail."""


class Recording:
    """Records the audited calls of an edge; the others pass."""

    def __init__(self, trail: AuditTrail | None, policies: Iterator[Policy]) -> None:
        self._trail = trail
        if trail is None and (without := next(filter(is_audited, policies), None)):
            message = f"{without.method} is audited, and this API was given no audit trail"
            raise NoAudit(message)

    def arrived(self, policy: Policy, *, peer: str) -> AuditedCall | None:
        """Return what is recorded of a call, inside its span; None of one that is not audited."""
        if self._trail is None or not is_audited(policy):
            return None
        return audited(policy, address=address_of(peer), trace_id=telemetry.trace_id())

    async def carried_out(
        self, call: AuditedCall | None, request: object, raw: object, handle: Callable[[], Awaitable[object]]
    ) -> object:
        """Run the handler of an admitted call, once its intent is stored; return the reply.

        Of a public call, with which any client could fill the store, the record is stored once it has succeeded: its
        reply is all that it gives, and does not leave before.

        Raises:
            AuditUnavailable: the handler did not run, or its reply must not leave.

        """
        if call is None or self._trail is None:
            return await handle()
        if isinstance(request, Message) and isinstance(raw, bytes):
            call.request_digest, call.etag_before = await request_digest(request, raw), etag_sent(request)
        if not call.public:
            await self._trail.begin(call)
            with current(call):
                reply = await handle()
            call.etag_after, call.reply_digest = await reply_state(reply)
            return reply
        call.begun = True
        with current(call):
            reply = await handle()
        await self._trail.finish(call)
        return reply

    def ended(self, call: AuditedCall, *, code: str, reason: str, resource: str) -> None:
        """Record how a call ended."""
        if self._trail is not None:
            call.code, call.reason, call.resource = code, reason, resource
            self._trail.end(call)

    @contextmanager
    def before(self, policy: Policy, *, peer: str) -> Iterator[AuditedCall | None]:
        """Record what refuses an audited call in the block, which another edge has before it calls the RPC."""
        call = self.arrived(policy, peer=peer)
        try:
            yield call
        except TidemillError as error:
            if call is not None:
                self.ended(call, code=code_of(error).name, reason=error.reason, resource="")
            raise


def address_of(peer: str) -> str:
    """Return the address in what gRPC calls a peer, such as `ipv4:127.0.0.1:50051`, without the port."""
    _, _, place = unquote(peer).partition(":")
    return place.rpartition(":")[0].strip("[]")
