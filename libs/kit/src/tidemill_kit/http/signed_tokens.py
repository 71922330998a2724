"""Tokens that let a client do one thing with one resource, such as react to the answer that it was shown.

A token is `<expiry in seconds since 1970>.<HMAC-SHA256>` (RFC 2104) of a purpose, a project and a resource, in URL-safe
characters. Nothing is stored: every process with the same key accepts it.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill_core.errors import PermissionDenied


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTokens:
    """Makes tokens of one purpose and checks them; `refusal` makes the error of one that is not accepted."""

    purpose: str
    key: bytes
    refusal: Callable[[], PermissionDenied]
    lifetime: timedelta = timedelta(0)
    """Of a new token; each says itself when it expires."""

    def issue(self, project: str, resource: str, *, now: datetime) -> str:
        """Return the token of a resource."""
        expiry = str(int((now + self.lifetime).timestamp()))
        return f"{expiry}.{self._signature(project, resource, expiry)}"

    def check(self, token: str, project: str, resource: str, *, now: datetime) -> None:
        """Accept a token.

        Raises:
            PermissionDenied: it is another resource's, was changed, or has expired.

        """
        expiry, _, signature = token.partition(".")
        right = self._signature(project, resource, expiry)
        if not hmac.compare_digest(right.encode(), signature.encode(errors="replace")):
            raise self.refusal()
        if int(expiry) < now.timestamp():
            raise self.refusal()

    def _signature(self, project: str, resource: str, expiry: str) -> str:
        signed = f"{self.purpose}\0{project}\0{resource}\0{expiry}".encode(errors="replace")
        digest = hmac.new(self.key, signed, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
