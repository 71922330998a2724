"""Text that is no Unicode, anywhere in a JSON request of any RPC: refused, or passed on, and never a failure."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from libs.kit.tests.access.rpcs import METHODS
from libs.kit.tests.access.test_http import UNARY, served, serving
from libs.kit.tests.grpc.support import Lines
from tidemill_testkit.access import TestIssuer, access_of
from tidemill_testkit.asgi import AsgiClient

ALONE = ["x\ud800", "\udc00x", "\udfff\ud800"]
"""Halves of surrogate pairs, which JSON can write, and which are no characters."""
NO_UTF8 = [
    b'{"a": "\xff"}',
    b'{"a": "\xed\xa0\x80"}',
    b'{"a": "\xf4\x90\x80\x80"}',
    b'{"a": "\xc0\xaf"}',
    b'{"a": "\xe2\x82',
    b'{"\xff": "a"}',
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}\xff",
]
DEPTH = 3


def leaves(kind: Descriptor, text: str, depth: int = DEPTH) -> Iterator[dict[str, Any]]:
    """Yield requests with this text in one place: each field that can have it, as value and as key."""
    for field in kind.fields:
        for value in _values(field, text, depth):
            yield {field.json_name: value}
    yield {text: 1}


def _values(field: FieldDescriptor, text: str, depth: int) -> Iterator[Any]:
    kind = field.message_type
    is_map = kind is not None and kind.GetOptions().map_entry
    for value in _single(field, text, depth):
        if is_map:
            yield value
        else:
            yield [value] if field.is_repeated else value


def _single(field: FieldDescriptor, text: str, depth: int) -> Iterator[Any]:
    kind = field.message_type
    if kind is None:
        yield text
    elif kind.GetOptions().map_entry:
        yield {text: "a"}
        for value in _single(kind.fields_by_name["value"], text, depth):
            yield {"a": value}
    elif kind.full_name == "google.protobuf.Struct":
        yield from ({text: 1}, {"a": text}, {"a": {text: [text]}})
    elif kind.full_name.startswith("google.protobuf."):
        yield text
    elif depth > 0:
        yield from leaves(kind, text, depth - 1)


async def test_no_rpc_fails_of_text_that_is_no_unicode(tmp_path: Path, lines: Lines) -> None:
    issuer, codes = TestIssuer(tmp_path), Counter[int]()
    headers = {
        "authorization": f"Bearer {issuer.token('*', 'installation_admin')}",
        "tidemill-project": "acme",
        "content-type": "application/json",
    }
    client = AsgiClient(served(access_of(issuer)))
    # What decodes a body does not know the RPC: each gets one of these, and all that its own fields can have.
    for name, no_utf8, alone in zip(UNARY, cycle(NO_UTF8), cycle(ALONE), strict=False):
        bodies = [{alone: alone}, *leaves(METHODS[name].input_type, ALONE[0])]
        for body in (no_utf8, *(json.dumps(each).encode() for each in bodies)):
            answer = await client.post(f"/{name}", headers=headers, content=body)
            assert answer.status_code == 400, (name, body, answer.text)
            answer.text.encode()
            codes[answer.status_code] += 1

    assert codes.total() > 10 * len(UNARY)
    assert "\\ud800" not in lines.text


@pytest.mark.parametrize("name", ["tidemill-project", "authorization", "connect-timeout-ms", "traceparent"])
async def test_no_rpc_fails_of_a_header_that_is_no_text(tmp_path: Path, name: str) -> None:
    issuer = TestIssuer(tmp_path)
    token = issuer.token("acme", "admin")
    async with serving(access_of(issuer)) as client:
        for value in (b"\xff", b"\xed\xa0\x80", b"acme\xe2\x82"):
            headers = {b"authorization": f"Bearer {token}".encode(), b"tidemill-project": b"acme", name.encode(): value}
            answer = await client.post(f"/{UNARY[0]}", headers=headers, content=b"{}")
            assert answer.status_code < 500, answer.text
