"""Anchors in a real object store."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from tidemill_core.audit import Head
from tidemill_kit.store.objects import ObjectStore
from tidemill_local import Addresses
from tidemill_monitor.audit.domain import INSTALLATION
from tidemill_monitor.audit.objects import ObjectAnchors
from tidemill_testkit.buckets import remove_bucket
from tidemill_testkit.stack import unique_name

ONE, TWO = Head(seq=9, hash="a" * 64), Head(seq=10, hash="b" * 64)


class Bucket:
    def __init__(self, store: ObjectStore, bucket: str) -> None:
        self.store, self.name = store, bucket
        self.anchors = ObjectAnchors(store, bucket)


@pytest.fixture
async def stored(stack: Addresses) -> AsyncIterator[Bucket]:
    store = ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)
    name = unique_name("monitor")
    await store.ensure_bucket(name)
    yield Bucket(store, name)
    await remove_bucket(stack, name)


async def test_anchors_are_listed_by_number(stored: Bucket) -> None:
    for chain, head in (("acme", TWO), ("acme", ONE), ("globex", ONE), (INSTALLATION, ONE)):
        await stored.anchors.put(chain, head)

    assert [(each.seq, each.hash) for each in await stored.anchors.list("acme")] == [(9, ONE.hash), (10, TWO.hash)]
    assert len(await stored.anchors.list(INSTALLATION)) == 1
    (one,) = await stored.store.list(stored.name, prefix=f"{INSTALLATION}/")
    assert json.loads(await stored.store.get(stored.name, one.key)) == {"hash": ONE.hash, "project": "", "seq": 9}


async def test_an_anchor_is_written_once_and_another_of_its_number_stands_beside_it(stored: Bucket) -> None:
    await stored.anchors.put("acme", ONE)
    (before,) = await stored.store.list(stored.name)
    await stored.store.put(stored.name, before.key, b"marked", media_type="text/plain")
    await stored.anchors.put("acme", ONE)
    assert await stored.store.get(stored.name, before.key) == b"marked"

    await stored.anchors.put("acme", Head(seq=9, hash="c" * 64))
    assert [each.seq for each in await stored.anchors.list("acme")] == [9, 9]


async def test_the_newest_before_a_time_is_found(stored: Bucket) -> None:
    await stored.anchors.put("acme", ONE)
    await stored.anchors.put("acme", TWO)
    later = datetime.now(UTC) + timedelta(minutes=5)
    found = await stored.anchors.newest_before("acme", later, first=1)
    assert found is not None
    assert found.seq == 10
    assert await stored.anchors.newest_before("acme", later - timedelta(days=1), first=1) is None
