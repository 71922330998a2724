"""Buckets as they are polled: on a real S3 server, and what a server may answer besides."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from services.ingest.tests.conftest import NewBucket
from services.ingest.tests.polling.origins import BUCKET
from services.ingest.tests.polling.repositories import ProcessesHere
from tidemill_core.origins import AllowedHosts
from tidemill_ingest.errors import FileUnreadable, OriginFailed
from tidemill_ingest.limits import OriginLimits
from tidemill_ingest.polling import s3
from tidemill_ingest.polling.domain.objects import ListedObject, Listing
from tidemill_ingest.polling.domain.origin import Polling, S3Origin
from tidemill_ingest.polling.origins import DeclaredOrigins
from tidemill_ingest.polling.ports import OpenOrigin
from tidemill_ingest.polling.s3 import S3Bucket
from tidemill_kit.runtime.operator_secrets import OperatorSecrets
from tidemill_kit.store.objects import ObjectStore
from tidemill_local import Addresses

KEYS = ("kb/a.md", "kb/b b+c&d=ü%.md", "kb/deep/er/c.txt", "kb-other/d.md")
LISTED = ListedObject(key="a.md", version="v", size=3)


def origins(stack: Addresses, *, allowed: bool = True, secret: str = "", hosts: str = "") -> DeclaredOrigins:
    endpoint = stack.s3.endpoint
    environment = {
        "INGEST_SECRET_ACME__KB": secret or stack.s3.secret_key,
        "INGEST_SECRET_ACME__KB__HOSTS": hosts or f"http://{endpoint}",
    }
    return DeclaredOrigins(
        secrets=OperatorSecrets("INGEST_SECRET_", environment, None),
        allowed=AllowedHosts.of([endpoint] if allowed else []),
        limits=OriginLimits(timeout_s=10),
        processes=ProcessesHere(),
        folder=Path(),
    )


def polling(stack: Addresses, bucket: str, *, prefix: str = "kb/") -> Polling:
    endpoint, access_key, named = f"http://{stack.s3.endpoint}", stack.s3.access_key, "KB"
    return Polling(s3=S3Origin(endpoint=endpoint, bucket=bucket, prefix=prefix, access_key=access_key, secret=named))


async def listed(origin: OpenOrigin) -> Listing:
    found = await origin.listing()
    assert found is not None
    return found


async def test_a_bucket_is_listed_and_read_whatever_its_keys_are(
    stack: Addresses, object_store: ObjectStore, new_bucket: NewBucket
) -> None:
    bucket = await new_bucket("polled")
    for key in KEYS:
        await object_store.put(bucket, key, key.encode(), media_type="text/plain")

    async with origins(stack).open("acme", polling(stack, bucket)) as origin:
        listing = await listed(origin)
        contents = {each.key: await origin.read(each) for each in listing.objects}
        gone = await origin.read(ListedObject(key="kb/none.md", version="v", size=1))

    assert contents == {key: key.encode() for key in KEYS[:3]}
    assert {each.size for each in listing.objects} == {len(key.encode()) for key in KEYS[:3]}
    assert gone is None


async def test_the_version_of_an_object_changes_with_its_content_alone(
    stack: Addresses, object_store: ObjectStore, new_bucket: NewBucket
) -> None:
    bucket, versions = await new_bucket("polled"), []
    for content in (b"one", b"one", b"two"):
        await object_store.put(bucket, "kb/a.md", content, media_type="text/plain")
        async with origins(stack).open("acme", polling(stack, bucket)) as origin:
            versions += [each.version for each in (await listed(origin)).objects]

    assert versions[0] == versions[1] != versions[2]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"secret": "another"}, "ACCESS_DENIED"),
        ({"hosts": "https://elsewhere.example"}, "SECRET_MISSING"),
        ({"allowed": False}, "SECRET_MISSING"),
    ],
)
async def test_a_wrong_secret_and_one_for_another_host_are_said(
    stack: Addresses, new_bucket: NewBucket, options: dict[str, str], reason: str
) -> None:
    bucket = await new_bucket("polled")

    with pytest.raises(OriginFailed) as failed:
        async with origins(stack, **options).open("acme", polling(stack, bucket)) as origin:  # type: ignore[arg-type]
            await origin.listing()

    assert failed.value.reason == reason
    assert stack.s3.secret_key not in failed.value.message


async def test_a_bucket_that_is_not_there_is_said(stack: Addresses) -> None:
    with pytest.raises(OriginFailed) as failed:
        async with origins(stack).open("acme", polling(stack, "there-is-no-such")) as origin:
            await origin.listing()

    assert failed.value.reason == "ORIGIN_NOT_FOUND"


async def test_an_address_inside_is_not_called_unless_the_operator_allows_it() -> None:
    declared = DeclaredOrigins(
        secrets=OperatorSecrets("INGEST_SECRET_", {}, None),
        allowed=AllowedHosts(),
        limits=OriginLimits(),
        processes=ProcessesHere(),
        folder=Path(),
    )
    inside = Polling(s3=S3Origin(endpoint="https://127.0.0.1:9000", bucket="kb-pages"))

    with pytest.raises(OriginFailed) as failed:
        async with declared.open("acme", inside) as origin:
            await origin.listing()

    assert failed.value.reason == "ORIGIN_UNREACHABLE"


@asynccontextmanager
async def answering(status: int, body: bytes = b"") -> AsyncIterator[S3Bucket]:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, content=body))
    async with httpx2.AsyncClient(transport=transport) as client:
        yield bucket_of(client)


def bucket_of(client: httpx2.AsyncClient, *, wall_s: float = 600.0) -> S3Bucket:
    origin, polling = BUCKET, Polling(s3=BUCKET)
    limits = OriginLimits(max_objects=2, max_bytes=10, wall_s=wall_s)
    return S3Bucket(client=client, origin=origin, polling=polling, secret="", limits=limits)


def page(*keys: str, truncated: str = "false", more: str = "") -> bytes:
    contents = "".join(f"<Contents><Key>{key}</Key><ETag>v</ETag><Size>3</Size></Contents>" for key in keys)
    token = f"<NextContinuationToken>{more}</NextContinuationToken>" if more else ""
    return (
        f"<ListBucketResult><Name>kb</Name><EncodingType>url</EncodingType><IsTruncated>{truncated}</IsTruncated>"
        f"{contents}{token}</ListBucketResult>"
    ).encode()


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (403, b"<Error/>", "ACCESS_DENIED"),
        (404, b"", "ORIGIN_NOT_FOUND"),
        (301, b"", "ORIGIN_REFUSED"),
        (503, b"", "ORIGIN_UNREACHABLE"),
        (200, b"<html>sign in</html>", "ORIGIN_UNREADABLE"),
        (200, b"no XML", "ORIGIN_UNREADABLE"),
        (200, b"", "ORIGIN_UNREADABLE"),
        (200, page("a.md", truncated="true")[:-30], "ORIGIN_UNREADABLE"),
        (200, page("a.md", "b.md", "c.md"), "TOO_MANY_OBJECTS"),
        (200, page("a.md").replace(b"<IsTruncated>false</IsTruncated>", b""), "ORIGIN_UNREADABLE"),
        (200, page("a.md").replace(b"<ETag>v</ETag>", b""), "ORIGIN_UNREADABLE"),
        (200, page("a.md").replace(b">v<", b">" + b"v" * 129 + b"<"), "ORIGIN_UNREADABLE"),
        (200, page("a.md").replace(b">v<", ">\u00fc<".encode()), "ORIGIN_UNREADABLE"),
    ],
)
async def test_what_is_no_whole_listing_is_an_error_and_never_an_empty_one(
    status: int, body: bytes, reason: str
) -> None:
    async with answering(status, body) as bucket:
        with pytest.raises(OriginFailed) as failed:
            await bucket.listing()

    assert failed.value.reason == reason


async def test_a_page_that_is_followed_by_itself_ends_as_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_MAX_PAGES", 3)
    async with answering(200, page("a.md", truncated="true", more="again")) as bucket:
        with pytest.raises(OriginFailed) as failed:
            await bucket.listing()

    assert failed.value.reason == "ORIGIN_UNREADABLE"


async def test_a_file_that_is_larger_than_its_listing_says_is_not_read_to_its_end() -> None:
    async with answering(200, b"x" * 11) as bucket:
        with pytest.raises(FileUnreadable):
            await bucket.read(LISTED)


async def test_a_server_that_sends_drop_by_drop_does_not_hold_a_place() -> None:
    async def drops() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=drops()))
    async with httpx2.AsyncClient(transport=transport) as client:
        bucket = bucket_of(client, wall_s=0.05)
        for call in (bucket.listing(), bucket.read(LISTED)):
            with pytest.raises(OriginFailed, match=r"more than 0\.05 s") as failed:
                await call
            assert failed.value.reason == "ORIGIN_TOO_SLOW"


@pytest.mark.parametrize("status", [400, 403])
async def test_a_server_that_refuses_one_file_of_its_listing_says_nothing_about_the_others(status: int) -> None:
    async with answering(status) as bucket:
        with pytest.raises(FileUnreadable):
            await bucket.read(LISTED)


async def test_folders_and_keys_longer_than_s3_allows_are_passed_over() -> None:
    body = page("a.md", "x" * 1025 + ".md", "folder/").replace(b"folder/</Key><ETag>v</ETag>", b"folder/</Key>")
    async with answering(200, body) as bucket:
        listing = await listed(bucket)

    assert ([each.key for each in listing.objects], listing.skipped) == (["a.md"], 1)


@pytest.mark.parametrize("status", [404, 412])
async def test_a_file_that_is_gone_or_changed_is_no_error(status: int) -> None:
    async with answering(status) as bucket:
        assert await bucket.read(LISTED) is None
