"""Tokens that authorise the client that was shown an answer to react to it.

A token is made with the answer, for its inference and project: `<expiry in seconds since 1970>.<HMAC-SHA256>`
(RFC 2104), in URL-safe characters. Nothing is stored, and every replica with the same key accepts it.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill_core.errors import PermissionDenied


class FeedbackTokenRefused(PermissionDenied):
    """The reaction does not come from where the answer was shown."""

    reason = "FEEDBACK_TOKEN_REFUSED"

    def __init__(self) -> None:
        super().__init__(
            "token: is none for this inference, or has expired: send the feedback_token that came with the answer"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackTokens:
    """Makes tokens and checks them."""

    key: bytes
    lifetime: timedelta

    def issue(self, project: str, inference: str, *, now: datetime) -> str:
        """Return the token of an answer."""
        expiry = str(int((now + self.lifetime).timestamp()))
        return f"{expiry}.{self._signature(project, inference, expiry)}"

    def check(self, token: str, project: str, inference: str, *, now: datetime) -> None:
        """Accept a token.

        Raises:
            FeedbackTokenRefused: it is another answer's, was changed, or has expired.

        """
        expiry, _, signature = token.partition(".")
        right = self._signature(project, inference, expiry)
        if not hmac.compare_digest(right.encode(), signature.encode(errors="replace")):
            raise FeedbackTokenRefused
        if int(expiry) < now.timestamp():
            raise FeedbackTokenRefused

    def _signature(self, project: str, inference: str, expiry: str) -> str:
        signed = f"feedback\0{project}\0{inference}\0{expiry}".encode(errors="replace")
        digest = hmac.new(self.key, signed, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
