"""Artifacts fetched from a store in memory, and by two processes at once from the real one."""

import asyncio
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from libs.core.tests.models.artifact_folders import model_folder
from tidemill_core.aggregate import ObjectRef
from tidemill_core.errors import DependencyUnavailable
from tidemill_core.models.manifest import ArtifactFile, ArtifactRefused, Manifest
from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_kit.store.objects import ExchangeBucket, ObjectDamaged, ObjectMissing, Objects, ObjectStore
from tidemill_local.addresses import Addresses
from tidemill_testkit.objects import InMemoryObjects

BUCKET = "models"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "model")


@pytest.fixture
def store() -> InMemoryObjects:
    return InMemoryObjects(BUCKET)


@pytest.fixture
def cache(tmp_path: Path, store: InMemoryObjects) -> ArtifactCache:
    return ArtifactCache(tmp_path / "cache", ExchangeBucket(store, BUCKET))


async def uploaded(folder: Path, store: Objects, bucket: str = BUCKET) -> tuple[Manifest, dict[str, ObjectRef]]:
    manifest, exchange = Manifest.from_folder(folder), ExchangeBucket(store, bucket)
    media_type = "application/octet-stream"
    objects = {
        file.path: await exchange.put("acme", "m1", folder / file.path, media_type=media_type)
        for file in manifest.files
    }
    return manifest, objects


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_fetched_folder_holds_what_was_uploaded(
    folder: Path, store: InMemoryObjects, cache: ArtifactCache, tmp_path: Path
) -> None:
    manifest, objects = await uploaded(folder, store)

    fetched = await cache.fetch("acme", manifest, objects)

    assert fetched == tmp_path / "cache" / "acme" / manifest.digest
    assert contents(fetched) == contents(folder)


async def test_what_was_fetched_once_needs_no_store(folder: Path, store: InMemoryObjects, cache: ArtifactCache) -> None:
    manifest, objects = await uploaded(folder, store)
    first = await cache.fetch("acme", manifest, objects)
    store.buckets.clear()

    assert await cache.fetch("acme", manifest, objects) == first


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "LICENSE"])
async def test_a_file_damaged_on_disk_is_refused_at_the_next_fetch(
    folder: Path, store: InMemoryObjects, cache: ArtifactCache, name: str
) -> None:
    manifest, objects = await uploaded(folder, store)
    path = await cache.fetch("acme", manifest, objects) / name
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    with pytest.raises(ArtifactRefused) as caught:
        await cache.fetch("acme", manifest, objects)
    assert caught.value.path == name


async def test_a_file_missing_on_disk_is_refused(folder: Path, store: InMemoryObjects, cache: ArtifactCache) -> None:
    manifest, objects = await uploaded(folder, store)
    (await cache.fetch("acme", manifest, objects) / "config.json").unlink()

    with pytest.raises(ArtifactRefused, match=r"config\.json: is missing"):
        await cache.fetch("acme", manifest, objects)


@pytest.mark.parametrize("name", ["added.json", "modeling.py", "weights.pkl"])
async def test_a_file_added_on_disk_is_refused(
    folder: Path, store: InMemoryObjects, cache: ArtifactCache, name: str
) -> None:
    manifest, objects = await uploaded(folder, store)
    (await cache.fetch("acme", manifest, objects) / name).write_text("{}")

    with pytest.raises(ArtifactRefused) as caught:
        await cache.fetch("acme", manifest, objects)
    assert caught.value.path == name


async def test_a_file_replaced_by_a_link_is_refused(folder: Path, store: InMemoryObjects, cache: ArtifactCache) -> None:
    manifest, objects = await uploaded(folder, store)
    path = await cache.fetch("acme", manifest, objects) / "config.json"
    path.unlink()
    path.symlink_to(folder / "config.json")

    with pytest.raises(ArtifactRefused, match="is a link"):
        await cache.fetch("acme", manifest, objects)


async def test_a_damaged_object_leaves_nothing_that_could_be_loaded(
    folder: Path, store: InMemoryObjects, cache: ArtifactCache, tmp_path: Path
) -> None:
    manifest, objects = await uploaded(folder, store)
    key = objects["model.safetensors"].key
    whole = store.buckets[BUCKET][key]
    store.buckets[BUCKET][key] = whole[:-1]

    with pytest.raises(ObjectDamaged):
        await cache.fetch("acme", manifest, objects)
    assert not (tmp_path / "cache" / "acme" / manifest.digest).exists()

    store.buckets[BUCKET][key] = whole
    assert contents(await cache.fetch("acme", manifest, objects)) == contents(folder)


async def test_an_interrupted_download_goes_on_where_it_was(
    folder: Path, store: InMemoryObjects, cache: ArtifactCache
) -> None:
    manifest, objects = await uploaded(folder, store)
    missing = {objects["vocab.txt"].key: store.buckets[BUCKET].pop(objects["vocab.txt"].key)}
    with pytest.raises(ObjectMissing):
        await cache.fetch("acme", manifest, objects)
    store.buckets[BUCKET] = missing

    assert contents(await cache.fetch("acme", manifest, objects)) == contents(folder)


async def test_what_an_interrupted_download_left_damaged_is_downloaded_again(
    folder: Path, store: InMemoryObjects, cache: ArtifactCache, tmp_path: Path
) -> None:
    manifest, objects = await uploaded(folder, store)
    partial = tmp_path / "cache" / "acme" / f"{manifest.digest}.partial"
    partial.mkdir(parents=True)
    (partial / "vocab.txt").write_text("c\nd\n")

    assert contents(await cache.fetch("acme", manifest, objects)) == contents(folder)


async def test_code_in_a_manifest_that_others_made_is_refused_after_download(
    folder: Path, store: InMemoryObjects, cache: ArtifactCache, tmp_path: Path
) -> None:
    manifest, objects = await uploaded(folder, store)
    exchange = ExchangeBucket(store, BUCKET)
    evil = await exchange.put("acme", "m1", b'{"auto_map": {"AutoModel": "x.Y"}}', media_type="application/json")
    files = [file for file in manifest.files if file.path != "config.json"]
    forged = Manifest([*files, ArtifactFile("config.json", evil.size, evil.sha256)])

    with pytest.raises(ArtifactRefused, match="names code to run"):
        await cache.fetch("acme", forged, objects | {"config.json": evil})
    assert not list((tmp_path / "cache" / "acme").glob("*.partial"))
    assert not (tmp_path / "cache" / "acme" / forged.digest).exists()


@pytest.mark.parametrize(
    "broken",
    [
        lambda _: None,
        lambda ref: replace(ref, size=ref.size + 1),
        lambda ref: replace(ref, sha256="0" * 64),
        lambda ref: replace(ref, key="other/m1/x"),
    ],
)
async def test_an_object_that_does_not_belong_to_the_manifest_is_refused_before_any_download(
    folder: Path, store: InMemoryObjects, cache: ArtifactCache, tmp_path: Path, broken: object
) -> None:
    manifest, objects = await uploaded(folder, store)
    assert callable(broken)
    ref = broken(objects["config.json"])
    others = {path: each for path, each in objects.items() if path != "config.json"}
    given = others | {"config.json": ref} if ref else others

    with pytest.raises(ArtifactRefused) as caught:
        await cache.fetch("acme", manifest, given)
    assert caught.value.path == "config.json"
    assert not (tmp_path / "cache").exists()


async def test_a_full_disk_is_reported_before_the_download(cache: ArtifactCache) -> None:
    huge = ArtifactFile("model.safetensors", 1 << 60, "0" * 64)
    ref = ObjectRef(bucket=BUCKET, key="acme/m1/x", size=huge.size, sha256=huge.sha256)

    with pytest.raises(DependencyUnavailable, match="free some space") as caught:
        await cache.fetch("acme", Manifest([huge]), {huge.path: ref})
    assert caught.value.dependency == "disk"


async def test_tasks_that_request_the_same_artifact_download_it_once(folder: Path, tmp_path: Path) -> None:
    class Counting(InMemoryObjects):
        read = 0

        async def get_file(self, bucket: str, key: str, path: Path) -> None:
            self.read += 1
            await super().get_file(bucket, key, path)

    store = Counting(BUCKET)
    manifest, objects = await uploaded(folder, store)
    caches = [ArtifactCache(tmp_path / "cache", ExchangeBucket(store, BUCKET)) for _ in range(4)]

    folders = await asyncio.gather(*(cache.fetch("acme", manifest, objects) for cache in caches))

    assert len(set(folders)) == 1
    assert store.read == len(manifest.files)


FETCH_IN_A_PROCESS = """
import asyncio, json, sys
from pathlib import Path
from tidemill_kit.models.artifacts import ArtifactCache
from tidemill_core.aggregate import ObjectRef
from tidemill_core.models.manifest import ArtifactFile, Manifest
from tidemill_kit.store.objects import ExchangeBucket, ObjectStore

given = json.load(sys.stdin)
store = ObjectStore(*given["s3"], secure=False)
cache = ArtifactCache(Path(given["root"]), ExchangeBucket(store, given["bucket"]))
manifest = Manifest([ArtifactFile(**file) for file in given["files"]])
objects = {path: ObjectRef(**ref) for path, ref in given["objects"].items()}
print(asyncio.run(cache.fetch("acme", manifest, objects)))
"""


async def test_processes_that_request_the_same_artifact_share_it(
    folder: Path, object_store: ObjectStore, real_bucket: str, stack: Addresses, tmp_path: Path
) -> None:
    (folder / "big.txt").write_bytes(b"x" * 5_000_000)
    manifest, objects = await uploaded(folder, object_store, real_bucket)
    given = {
        "s3": [stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key],
        "root": str(tmp_path / "cache"),
        "bucket": real_bucket,
        "files": [asdict(file) for file in manifest.files],
        "objects": {path: asdict(ref) for path, ref in objects.items()},
    }

    async def fetch() -> str:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FETCH_IN_A_PROCESS, stdin=pipe, stdout=pipe
        )
        output, _ = await process.communicate(json.dumps(given).encode())
        return output.decode().strip()

    folders = await asyncio.gather(fetch(), fetch())

    assert set(folders) == {str(tmp_path / "cache" / "acme" / manifest.digest)}
    assert contents(Path(folders[0])) == contents(folder)
    assert not list((tmp_path / "cache" / "acme").glob("*.partial"))
