from datetime import timedelta

import pytest

from tidemill_inference.openai_api.feedback_tokens import FeedbackTokenRefused, FeedbackTokens
from tidemill_testkit.clocks import NOON

TOKENS = FeedbackTokens(key=b"k" * 32, lifetime=timedelta(days=1))
TOKEN = TOKENS.issue("acme", "i-1", now=NOON)
EXPIRY, _, SIGNATURE = TOKEN.partition(".")


def test_a_token_is_accepted_for_its_answer_by_every_replica_until_it_expires() -> None:
    replica = FeedbackTokens(key=b"k" * 32, lifetime=timedelta(days=7))

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
    tokens = FeedbackTokens(key=key, lifetime=timedelta(days=1))

    with pytest.raises(FeedbackTokenRefused):
        tokens.check(token, project, inference, now=NOON + timedelta(hours=hours))
