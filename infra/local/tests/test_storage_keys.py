"""The object store's own parts: what S3 asks a key for is not to be had beside it."""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tidemill_local import Addresses

_FILER = re.compile(rb"-filer\.port=(\d+)")


def filer_of(s3: str) -> int:
    """Return the port of the filer of the store that serves S3 there."""
    flag = f"-s3.port={s3.rpartition(':')[2]}".encode()
    found = (_FILER.search(command) for command in commands() if flag in command.split(b"\0"))
    return next(int(match[1]) for match in found if match)


def commands() -> Iterator[bytes]:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            yield file.read_bytes()


@pytest.mark.parametrize(("path", "method"), [("/buckets/?pretty=y", "GET"), ("/buckets/x/y", "DELETE")])
def test_the_filer_refuses_a_request_without_its_token(stack: Addresses, path: str, method: str) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{filer_of(stack.s3.endpoint)}{path}", method=method)

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)  # noqa: S310 - loopback

    assert refused.value.code == 401
