"""Text that is made to keep the patterns of masking busy."""

import time

import pytest

from services.ingest.tests.fakes import spec
from tidemill_ingest.documents.preparation import prepare_document
from tidemill_ingest.masking.kinds import Masking

HOSTILE = (
    "sk-", "eyJ", "eyJa.", "//a/:_authToken=", "a", "1", "1 ", "-", "_a", "*", "**a", "\\_", "a@", "a@b.", "%40a.",
    "password:", "key=", "authorization:bearer ", "://a:", "xoxb-1-", "aws key '", "glagent-",
    "-----BEGIN RSA PRIVATE KEY-----", "::1:2", "ab::", "1.1.1.1", "10.0.0.1,", "4111 ", "4111\n", "| 4111 ",
    "DE89 3704 ", "AA11", "+1+1 (", "00 1", "tel: 1 ", "01.01.2000 ", "1.000.", "123456-123456 ", "\u200b",
    "a\u200d", "\u0301\u0327", "\u00a0", " ", "\n", "`", "[](", "![a](data:a", "<a ", "&#",
    " at a dot com", "a at b dot ", " (at) a.", "a @ b.com ", "a dot ", '"a"@b.c', '"a', "&#49;", "%31", "%2",
    "D E 8 9 ", "4111] [", "4 1 1 1 ",
    "AAAABBBBCCCC0123456789/+",
)  # fmt: skip
SIZE = 60_000


def cpu_s(text: str) -> float:
    started = time.thread_time()
    prepare_document(spec(title=text[:500]), text.encode(), Masking())
    return time.thread_time() - started


@pytest.fixture(scope="module")
def prose_s() -> float:
    """What ordinary text of the same length takes."""
    return cpu_s("Lorem ipsum dolor sit amet, call 212-736-5000 or 10.0.0.1 by 2026-11-30. " * (SIZE // 75))


@pytest.mark.parametrize("run", HOSTILE)
def test_no_text_takes_much_longer_than_its_length_explains(run: str, prose_s: float) -> None:
    assert cpu_s("x " + run * (SIZE // len(run))) < max(20 * prose_s, 1)
