"""JSON documents of issuers: their key sets, by URL, by OpenID discovery, or from a file.

The operator names the addresses, so they may lie inside; one that an issuer names itself is public, or the issuer's own
host. Redirects are not followed, and neither time nor size is without a bound.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tidemill_core.errors import DependencyUnavailable
from tidemill_core.origins import AllowedHosts

MAX_BYTES = 256 * 1024
TIMEOUT_S = 5.0
_DISCOVERY = "/.well-known/openid-configuration"
_FILE = "file:"
_OK = 200

Read = Callable[[], Awaitable[dict[str, Any]]]
"""Returns a key set.

Raises:
    DependencyUnavailable: it cannot be had.
"""


class IssuerUnavailable(DependencyUnavailable):
    """An issuer does not answer, or not with what it should."""

    reason = "ISSUER_UNAVAILABLE"

    def __init__(self, issuer: str, why: str) -> None:
        super().__init__(f"the keys of {issuer} cannot be read: {why}", dependency="issuer", issuer=issuer)


def key_set_of(issuer: str, address: str) -> Read:
    """Return what reads the keys of an issuer: from `address`, or, where that is empty, from where discovery says."""
    allowed = AllowedHosts.of_addresses(issuer, address)

    async def read() -> dict[str, Any]:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if address.startswith(_FILE):
                    return _object(await asyncio.to_thread(_file, Path(address.removeprefix(_FILE))))
                return await _get(address or await _discovered(issuer, allowed), allowed)
        except (OSError, ValueError, RecursionError, TimeoutError) as error:
            raise IssuerUnavailable(issuer, str(error) or type(error).__name__) from None

    return read


async def _discovered(issuer: str, allowed: AllowedHosts) -> str:
    """Return where an issuer says that its keys are (OpenID Connect Discovery 1.0, section 4)."""
    found = await _get(issuer.rstrip("/") + _DISCOVERY, allowed)
    address = found.get("jwks_uri")
    if found.get("issuer") != issuer:
        message = "its configuration is that of another issuer"
        raise ValueError(message)
    if not isinstance(address, str) or not address.startswith(("https://", issuer.partition("//")[0] + "//")):
        message = "its configuration names no address of keys, or one without TLS"
        raise ValueError(message)
    return address


async def _get(address: str, allowed: AllowedHosts) -> dict[str, Any]:
    # A third of a second, which only services with such an issuer need.
    from tidemill_kit.outgoing.client import HttpError, InvalidAddress, outgoing_client  # noqa: PLC0415

    headers = {"accept": "application/json", "accept-encoding": "identity"}
    try:
        async with (
            outgoing_client(allowed=allowed, timeout_s=TIMEOUT_S) as client,
            client.stream("GET", address, headers=headers) as response,
        ):
            if response.status_code != _OK:
                message = f"HTTP status {response.status_code}"
                raise ValueError(message)
            body = b""
            async for chunk in response.aiter_bytes():
                body = _limited(body + chunk)
    except (HttpError, InvalidAddress) as error:
        raise OSError(type(error).__name__) from error
    return _object(body)


def _file(path: Path) -> bytes:
    with path.open("rb") as file:
        return _limited(file.read(MAX_BYTES + 1))


def _limited(body: bytes) -> bytes:
    if len(body) > MAX_BYTES:
        message = f"it has more than {MAX_BYTES} bytes"
        raise ValueError(message)
    return body


def _object(body: bytes) -> dict[str, Any]:
    found = json.loads(body)
    if not isinstance(found, dict):
        message = "it is not a JSON object"
        raise ValueError(message)  # noqa: TRY004 - as of what is no JSON
    return found
