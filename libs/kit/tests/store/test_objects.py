"""The object store in memory and the real one, exchange buckets, and a store that does not answer."""

import asyncio
import hashlib
import threading
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TypeAlias

import pytest

from libs.kit.tests.wire import wire_to
from tidemill_core.aggregate import ObjectRef
from tidemill_core.errors import DependencyUnavailable, PermissionDenied
from tidemill_kit.store.objects import ExchangeBucket, ObjectDamaged, ObjectMissing, ObjectStore
from tidemill_local.addresses import Addresses
from tidemill_testkit.objects import InMemoryObjects

AnyStore: TypeAlias = ObjectStore | InMemoryObjects
TEXT = "text/plain"


@pytest.fixture
def in_memory() -> InMemoryObjects:
    return InMemoryObjects()


@pytest.fixture(params=["in_memory", "object_store"])
def store(request: pytest.FixtureRequest) -> AnyStore:
    fixture: AnyStore = request.getfixturevalue(request.param)
    return fixture


@pytest.fixture
async def memory_bucket(in_memory: InMemoryObjects) -> str:
    await in_memory.ensure_bucket("kit")
    return "kit"


@pytest.fixture
def bucket(request: pytest.FixtureRequest, store: AnyStore) -> str:
    name: str = request.getfixturevalue("real_bucket" if isinstance(store, ObjectStore) else "memory_bucket")
    return name


def exchange(store: AnyStore, bucket: str) -> ExchangeBucket:
    return ExchangeBucket(store, bucket)


async def test_what_is_put_is_got(store: AnyStore, bucket: str) -> None:
    await store.put(bucket, "a/b", b"bytes", media_type=TEXT)
    await store.put(bucket, "empty", b"", media_type=TEXT)

    assert await store.get(bucket, "a/b") == b"bytes"
    assert await store.get(bucket, "empty") == b""
    await store.put(bucket, "a/b", b"others", media_type=TEXT)
    assert await store.get(bucket, "a/b") == b"others"


async def test_calls_that_hang_keep_only_calls_of_the_store_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObjectStore("127.0.0.1:9", "key", "secret", secure=False, max_concurrent=2)
    revoked, begun = threading.Event(), []

    def hang() -> list[object]:
        begun.append(threading.current_thread())
        revoked.wait(30)
        return []

    monkeypatch.setattr(store._client, "list_buckets", hang)  # noqa: SLF001 - it is S3's side that hangs
    hanging = [asyncio.create_task(store.ping()) for _ in range(64)]  # more than asyncio has threads
    try:
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 7), 20) == 7
    finally:
        revoked.set()
    await asyncio.gather(*hanging)
    assert len(set(begun)) <= 2


async def test_files_go_in_and_out_in_any_size(store: AnyStore, bucket: str, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4 * 1024 * 11  # 11 MB: several parts
    (tmp_path / "in").write_bytes(data)

    await store.put_file(bucket, "big", tmp_path / "in", media_type=TEXT)
    await store.get_file(bucket, "big", tmp_path / "out")

    assert (tmp_path / "out").read_bytes() == data


async def test_a_scan_goes_through_everything_page_by_page(
    store: AnyStore, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill_kit.store.objects._LIST_BATCH", 2)
    for name in ("b/1", "a/1", "a/2", "a/3", "a/4", "a/5"):
        await store.put(bucket, name, b"x", media_type=TEXT)

    assert [each.key async for each in store.scan(bucket, prefix="a/")] == ["a/1", "a/2", "a/3", "a/4", "a/5"]
    assert [each.key async for each in store.scan(bucket, prefix="c/")] == []


async def test_a_missing_object_is_missing(store: AnyStore, bucket: str, tmp_path: Path) -> None:
    with pytest.raises(ObjectMissing):
        await store.get(bucket, "nothing")
    with pytest.raises(ObjectMissing):
        await store.get_file(bucket, "nothing", tmp_path / "out")
    assert not await store.exists(bucket, "nothing")
    await store.delete(bucket, "nothing")


async def test_a_missing_bucket_does_not_mean_that_an_object_was_erased(store: AnyStore) -> None:
    with pytest.raises(DependencyUnavailable):
        await store.get("kit-no-such-bucket", "a")


async def test_a_bucket_is_made_once(store: AnyStore, bucket: str) -> None:
    await store.put(bucket, "a", b"1", media_type=TEXT)
    await store.ensure_bucket(bucket)

    assert await store.exists(bucket, "a")


async def test_a_prefix_is_listed_and_deleted_and_nothing_beside_it(store: AnyStore, bucket: str) -> None:
    for key in ("acme/d1/a", "acme/d1/b", "acme/d10/a", "other/d1/a"):
        await store.put(bucket, key, key.encode(), media_type=TEXT)

    listed = await store.list(bucket, prefix="acme/d1/")
    await store.delete_prefix(bucket, "acme/d1/")
    await store.delete_prefix(bucket, "acme/d1/")
    await store.delete(bucket, "other/d1/a")

    assert [(found.key, found.size) for found in listed] == [("acme/d1/a", 9), ("acme/d1/b", 9)]
    assert [found.key for found in await store.list(bucket)] == ["acme/d10/a"]


async def test_more_than_a_page_of_objects_is_deleted(store: AnyStore, bucket: str) -> None:
    await asyncio.gather(*(store.put(bucket, f"p/{number:04}", b"x", media_type=TEXT) for number in range(1005)))
    assert len(await store.list(bucket, prefix="p/")) == 1005

    await store.delete_prefix(bucket, "p/")

    assert await store.list(bucket) == []


async def test_an_exchange_object_is_named_by_its_project_resource_and_content(store: AnyStore, bucket: str) -> None:
    ref = await exchange(store, bucket).put("acme", "d1", b"text", media_type=TEXT)

    digest = hashlib.sha256(b"text").hexdigest()
    assert ref == ObjectRef(bucket=bucket, key=f"acme/d1/{digest}", size=4, sha256=digest)
    assert await exchange(store, bucket).get(ref) == b"text"


async def test_a_file_gets_the_same_name_as_its_bytes(store: AnyStore, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"text")
    ref = await exchange(store, bucket).put("acme", "d1", tmp_path / "in", media_type=TEXT)

    assert ref == await exchange(store, bucket).put("acme", "d1", b"text", media_type=TEXT)
    await exchange(store, bucket).get_file(ref, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"text"


async def test_a_put_is_repeated_and_repairs_what_is_there(store: AnyStore, bucket: str) -> None:
    ref = await exchange(store, bucket).put("acme", "d1", b"text", media_type=TEXT)
    await store.put(bucket, ref.key, b"other", media_type=TEXT)
    await exchange(store, bucket).put("acme", "d1", b"text", media_type=TEXT)

    assert await exchange(store, bucket).get(ref) == b"text"


@pytest.mark.parametrize("damage", [b"tex", b"TEXT", b"texts", b""])
async def test_a_damaged_object_is_not_handed_out(store: AnyStore, bucket: str, tmp_path: Path, damage: bytes) -> None:
    ref = await exchange(store, bucket).put("acme", "d1", b"text", media_type=TEXT)
    await store.put(bucket, ref.key, damage, media_type=TEXT)

    with pytest.raises(ObjectDamaged):
        await exchange(store, bucket).get(ref)
    with pytest.raises(ObjectDamaged):
        await exchange(store, bucket).get_file(ref, tmp_path / "out")
    assert not (tmp_path / "out").exists()


async def test_a_reference_into_another_bucket_is_refused(store: AnyStore, bucket: str) -> None:
    ref = await exchange(store, bucket).put("acme", "d1", b"text", media_type=TEXT)

    with pytest.raises(PermissionDenied):
        await exchange(store, bucket).get(replace(ref, bucket="quarantine"))


async def test_erasing_a_resource_leaves_the_others(store: AnyStore, bucket: str) -> None:
    d1 = await exchange(store, bucket).put("acme", "d1", b"text", media_type=TEXT)
    d10 = await exchange(store, bucket).put("acme", "d10", b"text", media_type=TEXT)

    await exchange(store, bucket).erase("acme", "d1")

    assert await exchange(store, bucket).get(d10) == b"text"
    with pytest.raises(ObjectMissing):
        await exchange(store, bucket).get(d1)


def wired(address: str, stack: Addresses, *, timeout_s: float) -> ObjectStore:
    return ObjectStore(address, stack.s3.access_key, stack.s3.secret_key, secure=False, timeout_s=timeout_s)


async def test_a_store_that_answers_is_pinged(object_store: ObjectStore) -> None:
    await object_store.ping()


async def test_wrong_keys_are_a_missing_dependency(stack: Addresses) -> None:
    with pytest.raises(DependencyUnavailable):
        await ObjectStore(stack.s3.endpoint, "unknown", "nothing", secure=False).ping()


async def test_a_store_that_is_not_there_is_a_missing_dependency(stack: Addresses) -> None:
    before = monotonic()
    with pytest.raises(DependencyUnavailable) as caught:
        await wired("127.0.0.1:1", stack, timeout_s=30).ping()

    assert caught.value.dependency == "s3"
    assert monotonic() - before < 25


async def test_a_store_that_hangs_is_a_missing_dependency_after_two_time_outs(stack: Addresses) -> None:
    async with wire_to(stack.s3.endpoint) as wire:
        wire.hang()
        before = monotonic()
        with pytest.raises(DependencyUnavailable):
            await wired(wire.address, stack, timeout_s=0.3).ping()

    assert monotonic() - before < 20


async def test_a_connection_that_breaks_is_opened_anew_once(stack: Addresses) -> None:
    async with wire_to(stack.s3.endpoint) as wire:
        store = wired(wire.address, stack, timeout_s=5)
        await store.ping()
        wire.break_next()
        await store.ping()
