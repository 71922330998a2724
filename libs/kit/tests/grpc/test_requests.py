import threading
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from tidemill.ingest.v1.source_pb2 import Source
from tidemill.ingest.v1.source_service_pb2 import (
    CreateSourceRequest,
    DeleteSourceRequest,
    ListSourcesRequest,
    UpdateSourceRequest,
)
from tidemill_core.application import PageRequest
from tidemill_core.errors import Conflict, InvalidInput
from tidemill_core.resources import check_etag, etag_of
from tidemill_kit.grpc import requests
from tidemill_kit.grpc.requests import digest_large
from tidemill_kit.grpc.server import page_of, paths_of, request_of, timestamp_of, write_of


def test_the_same_body_has_the_same_digest_whatever_the_request_id_and_the_order_of_labels() -> None:
    one = request_of(CreateSourceRequest(request_id="a", source=Source(id="cms", labels={"x": "1", "y": "2"})))
    two = request_of(CreateSourceRequest(request_id="b", source=Source(id="cms", labels={"y": "2", "x": "1"})))
    other = request_of(CreateSourceRequest(request_id="a", source=Source(id="cms")))

    assert (one.id, two.id) == ("a", "b")
    assert one.digest == two.digest != other.digest


def test_every_call_without_a_request_id_is_an_intent_of_its_own() -> None:
    assert request_of(CreateSourceRequest()).id != request_of(CreateSourceRequest()).id


async def test_a_large_request_is_digested_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    message = CreateSourceRequest(request_id="a", source=Source(id="x" * 100_000))
    plain = request_of(message)
    threads = list[bool]()

    def recorded(body: bytes) -> object:
        threads.append(threading.current_thread() is not threading.main_thread())
        return sha256(body)

    monkeypatch.setattr(requests, "sha256", recorded)
    await digest_large(message, size=message.ByteSize())
    assert (request_of(message), threads) == (plain, [True])
    other = request_of(CreateSourceRequest(request_id="a"))
    assert threads == [True, False], "another message of the call has its own"
    assert other.digest != plain.digest


async def test_a_small_request_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "sha256", None)
    await digest_large(CreateSourceRequest(request_id="a"), size=3)


def test_a_request_id_that_is_too_long_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="request_id: has 129 characters; the limit is 128"):
        request_of(CreateSourceRequest(request_id="x" * 129))


def test_a_page_has_50_items_unless_said_otherwise() -> None:
    assert page_of(ListSourcesRequest()) == PageRequest(size=50, token="")
    assert page_of(ListSourcesRequest(page_size=1000)).size == 1000


@pytest.mark.parametrize("size", [-1, 1001])
def test_a_page_size_out_of_range_is_refused_with_field_value_and_limit(size: int) -> None:
    with pytest.raises(InvalidInput, match=f"page_size: is {size}; .*1000") as refused:
        page_of(ListSourcesRequest(page_size=size))

    assert [violation.field for violation in refused.value.violations] == ["page_size"]


def test_a_mask_with_unknown_paths_is_refused_naming_each_of_them() -> None:
    with pytest.raises(InvalidInput) as refused:
        paths_of(FieldMask(paths=["labels", "project", "*"]), allowed={"labels", "mask"})

    assert [violation.description for violation in refused.value.violations] == [
        "'*' cannot be changed; allowed: labels, mask",
        "'project' cannot be changed; allowed: labels, mask",
    ]


def test_a_mask_names_at_least_one_field() -> None:
    assert paths_of(FieldMask(paths=["labels"]), allowed={"labels"}) == {"labels"}
    with pytest.raises(InvalidInput, match="names no field"):
        paths_of(FieldMask(), allowed={"labels"})


def test_an_etag_of_another_version_is_a_conflict() -> None:
    check_etag("", 7)
    check_etag(etag_of(7), 7)
    with pytest.raises(Conflict, match="read it again"):
        check_etag(etag_of(6), 7)


def test_a_write_has_its_etag_from_the_request_or_from_the_resource_in_it() -> None:
    deleted = write_of(DeleteSourceRequest(id="cms", etag="3", request_id="r", validate_only=True))
    updated = write_of(UpdateSourceRequest(source=Source(id="cms", etag="4")), etag="4")

    assert (deleted.request.id, deleted.etag, deleted.validate_only) == ("r", "3", True)
    assert (updated.etag, updated.validate_only) == ("4", False)


def test_a_moment_becomes_a_timestamp_and_none_stays_unset() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    stamp = timestamp_of(moment)

    assert stamp is not None
    assert stamp.ToDatetime(tzinfo=UTC) == moment
    assert timestamp_of(None) is None
