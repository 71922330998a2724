"""Anchors in a real object store."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from tidemill_core.application import PageRequest
from tidemill_core.audit import Head
from tidemill_core.errors import InvalidInput
from tidemill_core.paging import Place, list_digest, token_after
from tidemill_kit.store.objects import ObjectStore, StoredObject
from tidemill_local import Addresses
from tidemill_monitor.audit.domain import INSTALLATION
from tidemill_monitor.audit.objects import ObjectAnchors
from tidemill_testkit.buckets import remove_bucket
from tidemill_testkit.clocks import NOON
from tidemill_testkit.stack import unique_name

ONE, TWO = Head(seq=9, hash="a" * 64), Head(seq=10, hash="b" * 64)


class Bucket:
    def __init__(self, store: "CountingStore", bucket: str) -> None:
        self.store, self.name = store, bucket
        self.anchors = ObjectAnchors(store, bucket)

    async def all(self, chain: str, *, end: int, size: int = 1000) -> list[tuple[int, str]]:
        """Return number and hash of all anchors, read page by page, backwards."""
        found: list[tuple[int, str]] = []
        token = ""
        while True:
            page = await self.anchors.page(chain, PageRequest(size=size, token=token), end=end)
            assert len(page.items) == size or not page.next_token
            found = [(each.seq, each.hash) for each in page.items] + found
            token = page.next_token
            if not token:
                return found


class CountingStore(ObjectStore):
    """Counts the objects that it listed."""

    listed = 0

    async def scan(self, bucket: str, *, prefix: str = "", after: str = "") -> AsyncIterator[StoredObject]:
        async for each in super().scan(bucket, prefix=prefix, after=after):
            self.listed += 1
            yield each


@pytest.fixture
async def stored(stack: Addresses) -> AsyncIterator[Bucket]:
    store = CountingStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)
    name = unique_name("monitor")
    await store.ensure_bucket(name)
    yield Bucket(store, name)
    await remove_bucket(stack, name)


async def test_anchors_are_listed_by_number(stored: Bucket) -> None:
    for chain, head in (("acme", TWO), ("acme", ONE), ("globex", ONE), (INSTALLATION, ONE)):
        await stored.anchors.put(chain, head)

    assert await stored.all("acme", end=10) == [(9, ONE.hash), (10, TWO.hash)]
    assert len(await stored.all(INSTALLATION, end=9)) == 1
    (one,) = await stored.store.list(stored.name, prefix=f"{INSTALLATION}/")
    assert json.loads(await stored.store.get(stored.name, one.key)) == {"hash": ONE.hash, "project": "", "seq": 9}


async def test_an_anchor_is_written_once_and_another_of_its_number_stands_beside_it(stored: Bucket) -> None:
    await stored.anchors.put("acme", ONE)
    (before,) = await stored.store.list(stored.name)
    await stored.store.put(stored.name, before.key, b"marked", media_type="text/plain")
    await stored.anchors.put("acme", ONE)
    assert await stored.store.get(stored.name, before.key) == b"marked"

    await stored.anchors.put("acme", Head(seq=9, hash="c" * 64))
    assert [seq for seq, _ in await stored.all("acme", end=9)] == [9, 9]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_pages_go_backwards_and_have_each_anchor_once(stored: Bucket, size: int) -> None:
    written = [(number, digit * 64) for number in (1, 2, 3, 40, 41, 900, 901) for digit in "ab"]
    for number, own in written:
        await stored.anchors.put("acme", Head(seq=number, hash=own))
    await stored.anchors.put("acme-2", ONE)

    assert await stored.all("acme", end=901, size=size) == written
    assert await stored.all("acme", end=2, size=size) == written, "the bucket has more than the chain: it was cut off"


async def test_a_page_reads_no_more_of_the_bucket_than_it_needs(stored: Bucket) -> None:
    for number in range(1, 61):
        await stored.anchors.put("acme", Head(seq=number, hash="a" * 64))
    stored.store.listed = 0

    page = await stored.anchors.page("acme", PageRequest(size=3), end=60)

    assert [each.seq for each in page.items] == [58, 59, 60]
    assert stored.store.listed < 15
    with pytest.raises(InvalidInput, match="page_token"):
        await stored.anchors.page("globex", PageRequest(size=3, token=page.next_token), end=60)
    far = token_after(Place(NOON, "9" * 4000), digest=list_digest("acme", {"list": "anchors"}, show_deleted=False))
    with pytest.raises(InvalidInput, match="page_token"):
        await stored.anchors.page("acme", PageRequest(size=3, token=far), end=60)


async def test_the_newest_before_a_time_is_found(stored: Bucket) -> None:
    await stored.anchors.put("acme", ONE)
    await stored.anchors.put("acme", TWO)
    later = datetime.now(UTC) + timedelta(minutes=5)
    found = await stored.anchors.newest_before("acme", later, first=1)
    assert found is not None
    assert found.seq == 10
    assert await stored.anchors.newest_before("acme", later - timedelta(days=1), first=1) is None
