"""Where a call may connect to: the addresses of a host, none of which leads inside, unless the operator allows it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_core.errors import RateLimited
from tidemill_core.origins import AllowedHosts, IPAddress, Origin, is_public
from tidemill_kit.outgoing.resolver import Resolver


class Unreachable(OSError):
    """An address that is refused fails exactly as one where nothing listens."""

    def __init__(self) -> None:
        super().__init__("the address cannot be reached")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedAddresses:
    """Finds addresses: public ones by TLS, and any of hosts that the operator allows.

    Who calls connects to one of these, so that a second resolution cannot return another one.
    """

    allowed: AllowedHosts
    resolve: Resolver
    connect_s: float
    project: str = ""
    """In whose share names are looked up."""

    async def of(self, origin: Origin) -> Sequence[IPAddress]:
        """Return the addresses of a host, best first.

        Raises:
            Unreachable: it has none, or may not be called.

        """
        allowed = self.allowed.allow(origin)
        if origin.scheme != "https" and not allowed:
            raise Unreachable
        try:
            async with asyncio.timeout(self.connect_s):
                literal = origin.literal
                found = [literal] if literal else await self.resolve(self.project, origin.host, origin.port)
        except (OSError, UnicodeError, TimeoutError, RateLimited) as error:
            raise Unreachable from error
        if not allowed and not all(map(is_public, found)):
            raise Unreachable
        return list(dict.fromkeys(found))
