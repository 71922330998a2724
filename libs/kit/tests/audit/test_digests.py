"""Digests name states, and give away nothing that a request keeps secret."""

import threading
from collections.abc import Callable
from hashlib import sha256

import pytest

from tidemill.ingest.v1.source_pb2 import Source
from tidemill.ingest.v1.source_service_pb2 import DeleteSourceRequest, UpdateSourceRequest, UpdateSourceResponse
from tidemill.monitor.v1.access_pb2 import ApiKey
from tidemill.monitor.v1.access_service_pb2 import CreateApiKeyResponse, ExchangeTokenRequest
from tidemill_kit.audit import digests
from tidemill_kit.audit.digests import etag_sent, has_redacted, reply_state, request_digest


@pytest.mark.parametrize("size", [1, 100_000])
async def test_a_request_s_digest_is_that_of_its_bytes(size: int) -> None:
    request = UpdateSourceRequest(source=Source(id="x" * size))
    raw = request.SerializeToString()
    assert await request_digest(request, raw) == sha256(raw).hexdigest()


async def test_of_a_request_with_a_secret_the_rest_is_digested() -> None:
    one = ExchangeTokenRequest(subject_token="guessed", project="acme")  # noqa: S106 - of a test
    other = ExchangeTokenRequest(project="acme")
    digests = {await request_digest(each, each.SerializeToString()) for each in (one, other)}
    assert digests == {sha256(other.SerializeToString()).hexdigest()}
    assert one.subject_token == "guessed"  # noqa: S105 - the request itself stays


def test_the_etag_of_a_request_is_its_own_or_its_resource_s() -> None:
    assert etag_sent(UpdateSourceRequest(source=Source(id="cms", etag="3"))) == "3"
    assert etag_sent(DeleteSourceRequest(id="cms", etag="4")) == "4"
    assert etag_sent(UpdateSourceRequest()) == ""


async def test_a_reply_s_state_is_the_etag_and_the_digest_of_its_resource() -> None:
    source = Source(id="cms", etag="5")
    digest = sha256(source.SerializeToString(deterministic=True)).hexdigest()
    assert await reply_state(UpdateSourceResponse(source=source)) == ("5", digest)
    assert await reply_state(None) == ("", "")
    assert await reply_state(UpdateSourceResponse()) == ("", "")


async def test_a_token_in_a_reply_changes_no_digest() -> None:
    assert has_redacted(CreateApiKeyResponse.DESCRIPTOR)
    key = ApiKey(id="laptop", etag="1")
    one, other = CreateApiKeyResponse(api_key=key, token="a"), CreateApiKeyResponse(api_key=key, token="b")  # noqa: S106
    assert await reply_state(one) == await reply_state(other)


@pytest.mark.parametrize(("size", "aside"), [(1, False), (100_000, True)])
async def test_what_is_large_is_digested_beside_the_event_loop(
    *, size: int, aside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = list[bool]()

    def recorded(data: bytes, hashed: Callable[[bytes], object] = sha256) -> object:
        threads.append(threading.current_thread() is not threading.main_thread())
        return hashed(data)

    monkeypatch.setattr(digests, "sha256", recorded)
    source = Source(id="x" * size, etag="5")
    reply, key = UpdateSourceResponse(source=source), ExchangeTokenRequest(project="x" * size)
    await reply_state(reply)
    await request_digest(reply, reply.SerializeToString())
    await request_digest(key, key.SerializeToString())

    assert threads == [aside] * 3
