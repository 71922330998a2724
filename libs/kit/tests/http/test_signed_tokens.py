from dataclasses import replace
from datetime import timedelta

import pytest

from tidemill_core.errors import PermissionDenied
from tidemill_kit.http.signed_tokens import SignedTokens
from tidemill_testkit.clocks import NOON


class TokenRefused(PermissionDenied):
    def __init__(self) -> None:
        super().__init__("it is none of this resource")


TOKENS = SignedTokens(purpose="react", key=b"k" * 32, lifetime=timedelta(days=1), refusal=TokenRefused)
TOKEN = TOKENS.issue("acme", "i-1", now=NOON)
EXPIRY, _, SIGNATURE = TOKEN.partition(".")


def test_a_token_is_accepted_for_its_resource_by_every_replica_until_it_expires() -> None:
    replica = replace(TOKENS, lifetime=timedelta(days=7))

    replica.check(TOKEN, "acme", "i-1", now=NOON)
    replica.check(TOKEN, "acme", "i-1", now=NOON + timedelta(hours=23))


@pytest.mark.parametrize(
    ("token", "project", "inference", "key", "hours"),
    [
        (TOKEN, "acme", "i-2", b"k" * 32, 0),
        (TOKEN, "other", "i-1", b"k" * 32, 0),
        (TOKEN, "acme", "i-1", b"l" * 32, 0),
        (TOKEN, "acme", "i-1", b"k" * 32, 25),
        (f"{int(EXPIRY) + 86400}.{SIGNATURE}", "acme", "i-1", b"k" * 32, 0),
        (f"{EXPIRY}.", "acme", "i-1", b"k" * 32, 0),
        (SIGNATURE, "acme", "i-1", b"k" * 32, 0),
        ("", "acme", "i-1", b"k" * 32, 0),
        ("\ud800.x", "acme", "i-1", b"k" * 32, 0),
        (TOKEN + "\u00e9", "acme", "i-1", b"k" * 32, 0),
    ],
)
def test_any_other_token_is_refused(token: str, project: str, inference: str, key: bytes, hours: int) -> None:
    tokens = replace(TOKENS, key=key)

    with pytest.raises(TokenRefused):
        tokens.check(token, project, inference, now=NOON + timedelta(hours=hours))


def test_a_token_of_another_purpose_is_refused() -> None:
    with pytest.raises(TokenRefused):
        replace(TOKENS, purpose="read").check(TOKEN, "acme", "i-1", now=NOON)
