"""Bytes in an S3 store, and exchange buckets: how one service hands bytes to others."""

import asyncio
import hashlib
import io
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import urllib3
from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

from tidemill_core.aggregate import ObjectRef
from tidemill_core.errors import DependencyUnavailable, Internal, NotFound, PermissionDenied

T = TypeVar("T")

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 30.0
_CHUNK_BYTES = 1024 * 1024
_LIST_BATCH = 1000
_SMALL_BYTES = 64 * 1024
"""Hashed sooner than a thread takes over."""


class ObjectMissing(NotFound):
    """There is no such object, or no longer: in an exchange bucket that means erased."""

    reason = "OBJECT_MISSING"

    def __init__(self, bucket: str, key: str) -> None:
        super().__init__(f"there is no object {key} in bucket {bucket}", bucket=bucket, key=key)


class ObjectDamaged(Internal):
    """The bytes are not the ones that were put."""

    reason = "OBJECT_DAMAGED"

    def __init__(self, ref: ObjectRef) -> None:
        super().__init__(f"object {ref.key} in bucket {ref.bucket} is damaged", bucket=ref.bucket, key=ref.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """An object as a listing shows it."""

    key: str
    size: int
    modified_at: datetime


class Objects(Protocol):
    """What an exchange bucket needs of a store."""

    async def put(self, bucket: str, key: str, data: bytes, *, media_type: str) -> None:
        """Store the bytes, over what is there."""
        ...

    async def put_file(self, bucket: str, key: str, path: Path, *, media_type: str) -> None:
        """Store a file's bytes, over what is there."""
        ...

    async def get(self, bucket: str, key: str) -> bytes:
        """Return the bytes.

        Raises:
            ObjectMissing: there is none.

        """
        ...

    async def get_file(self, bucket: str, key: str, path: Path) -> None:
        """Write the bytes to a file, over what is there.

        Raises:
            ObjectMissing: there is none.

        """
        ...

    async def delete(self, bucket: str, key: str) -> None:
        """Remove the object; removing nothing is no error."""
        ...

    async def delete_prefix(self, bucket: str, prefix: str) -> None:
        """Remove every object whose key starts so; removing nothing is no error."""
        ...


class ObjectStore:
    """An S3 server. Every method raises DependencyUnavailable when it does not answer in time, or not as S3 does."""

    def __init__(  # noqa: PLR0913 - where the server is, who asks, and two limits
        self,
        endpoint: str,
        access_key: str,
        secret_key: str,
        *,
        secure: bool,
        timeout_s: float = READ_TIMEOUT_S,
        max_concurrent: int = 16,
    ) -> None:
        # A read is tried once more: a server that was restarted has closed the connections that are kept here.
        retries = urllib3.Retry(total=2, read=1, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504))
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, timeout_s), read=timeout_s),
            retries=retries,
            maxsize=max_concurrent,
        )
        # Of its own: a server that hangs keeps a thread for as long as its time-outs, and everything else that runs in
        # threads (files, hashes, models) must not wait for that.
        self._threads = ThreadPoolExecutor(max_concurrent, thread_name_prefix="s3")
        # The region is given, because it would be asked for before each first call to a bucket.
        self._client = Minio(endpoint, access_key, secret_key, secure=secure, region="us-east-1", http_client=pool)

    async def ping(self) -> None:
        """Ask the server for a heartbeat."""
        await self._call(self._client.list_buckets)

    async def ensure_bucket(self, bucket: str) -> None:
        """Create the bucket unless it is there."""
        if await self._call(lambda: self._client.bucket_exists(bucket)):
            return
        try:
            await self._call(lambda: self._client.make_bucket(bucket))
        except DependencyUnavailable:
            if not await self._call(lambda: self._client.bucket_exists(bucket)):  # else another process was faster
                raise

    async def expire_after(self, bucket: str, *, days: int) -> None:
        """Have the server itself remove the bucket's objects at that age, where it knows how to."""
        rule = Rule(ENABLED, rule_filter=Filter(prefix=""), rule_id="expire", expiration=Expiration(days=days))
        await self._call(lambda: self._client.set_bucket_lifecycle(bucket, LifecycleConfig([rule])))

    async def put(self, bucket: str, key: str, data: bytes, *, media_type: str) -> None:
        """See `Objects.put`."""
        await self._call(
            lambda: self._client.put_object(bucket, key, io.BytesIO(data), len(data), content_type=media_type)
        )

    async def put_file(self, bucket: str, key: str, path: Path, *, media_type: str) -> None:
        """See `Objects.put_file`."""
        await self._call(lambda: self._client.fput_object(bucket, key, str(path), content_type=media_type))

    async def get(self, bucket: str, key: str) -> bytes:
        """See `Objects.get`."""

        def read() -> bytes:
            with self._opened(bucket, key) as response:
                return response.read()

        return await self._call(read)

    async def get_file(self, bucket: str, key: str, path: Path) -> None:
        """See `Objects.get_file`."""

        def copy() -> None:
            with self._opened(bucket, key) as response:
                shutil.copyfileobj(response, file, _CHUNK_BYTES)

        # Opened out here, so that a cancelled call closes it and the thread, which cannot be stopped, writes no more.
        with await asyncio.to_thread(path.open, "wb") as file:
            await self._call(copy)

    async def exists(self, bucket: str, key: str) -> bool:
        """Return whether the object is there."""
        try:
            await self._call(lambda: self._client.stat_object(bucket, key))
        except ObjectMissing:
            return False
        return True

    async def scan(self, bucket: str, *, prefix: str = "", after: str = "") -> AsyncIterator[StoredObject]:
        """Yield the objects whose keys start with the prefix, ordered by key, those that come after the key `after`.

        A page of them is in memory at a time.
        """
        found = self._client.list_objects(bucket, prefix=prefix, recursive=True, start_after=after or None)
        while page := await self._call(lambda: [*islice(found, _LIST_BATCH)]):
            for each in page:
                if each.last_modified is not None:
                    yield StoredObject(key=each.object_name or "", size=each.size or 0, modified_at=each.last_modified)

    async def list(self, bucket: str, *, prefix: str = "") -> Sequence[StoredObject]:
        """Return what `scan` yields: for what is known to be little."""
        return [each async for each in self.scan(bucket, prefix=prefix)]

    async def delete(self, bucket: str, key: str) -> None:
        """See `Objects.delete`."""
        await self._call(lambda: self._client.remove_object(bucket, key))

    async def delete_prefix(self, bucket: str, prefix: str) -> None:
        """See `Objects.delete_prefix`."""
        await self._delete_all(bucket, [found.key for found in await self.list(bucket, prefix=prefix)])

    async def delete_some(self, bucket: str, prefix: str, *, limit: int) -> int:
        """Remove at most `limit` of the objects whose keys start so; return how many, 0 when there is none."""
        found = self._client.list_objects(bucket, prefix=prefix, recursive=True)
        keys = await self._call(lambda: [each.object_name or "" for each in islice(found, limit)])
        await self._delete_all(bucket, keys)
        return len(keys)

    async def _delete_all(self, bucket: str, keys: Sequence[str]) -> None:
        doomed = [DeleteObject(key) for key in keys]
        errors = await self._call(lambda: [*self._client.remove_objects(bucket, doomed)])
        if errors:
            message = f"{len(errors)} of {len(doomed)} objects could not be removed: {errors[0].code}"
            raise DependencyUnavailable(message, dependency="s3", bucket=bucket)

    @contextmanager
    def _opened(self, bucket: str, key: str) -> Iterator[urllib3.BaseHTTPResponse]:
        response = self._client.get_object(bucket, key)
        try:
            yield response
        finally:
            response.close()
            response.release_conn()

    async def _call(self, call: Callable[[], T]) -> T:
        """Run in a thread what would block the event loop, and translate its errors."""
        try:
            loop, context = asyncio.get_running_loop(), copy_context()
            return await loop.run_in_executor(self._threads, lambda: context.run(call))
        except S3Error as error:
            if error.code == "NoSuchKey":
                raise ObjectMissing(error.bucket_name or "", error.object_name or "") from error
            # A missing bucket or a refused key too: the store is not as it has to be, and no object is gone by that.
            raise _unavailable(error.code or type(error).__name__) from error
        except (MinioException, urllib3.exceptions.HTTPError) as error:
            raise _unavailable(type(error).__name__) from error


class ExchangeBucket:
    """Immutable objects that their owner puts and others get by reference: key `<project>/<resource>/<sha256>`."""

    def __init__(self, store: Objects, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    async def ref_of(self, project: str, resource_id: str, data: bytes) -> ObjectRef:
        """Return where `put` will store these bytes."""
        return self._ref(project, resource_id, *await _measured_aside(data))

    def _ref(self, project: str, resource_id: str, size: int, sha256: str) -> ObjectRef:
        return ObjectRef(bucket=self._bucket, key=f"{project}/{resource_id}/{sha256}", size=size, sha256=sha256)

    async def put(
        self,
        project: str,
        resource_id: str,
        data: bytes | Path,
        *,
        media_type: str,
        measured: tuple[int, str] | None = None,
    ) -> ObjectRef:
        """Store the bytes, or the file's, and return where. Never skipped: what is there may be about to go.

        `measured` are size and sha256 where the caller has just worked them out: a second is saved on 200 MB.
        """
        if measured is None:
            measured = await _measured_aside(data)
        ref = self._ref(project, resource_id, *measured)
        if isinstance(data, Path):
            await self._store.put_file(ref.bucket, ref.key, data, media_type=media_type)
        else:
            await self._store.put(ref.bucket, ref.key, data, media_type=media_type)
        return ref

    async def get(self, ref: ObjectRef) -> bytes:
        """Return the object's bytes.

        Raises:
            ObjectMissing: it was erased.
            ObjectDamaged: its size or sha256 is another.
            PermissionDenied: the reference leads into another bucket.

        """
        self._check_bucket(ref)
        data = await self._store.get(ref.bucket, ref.key)
        await _verify(ref, data)
        return data

    async def get_file(self, ref: ObjectRef, path: Path) -> None:
        """Write the object's bytes to a file; raises as `get` does, and leaves no file then."""
        self._check_bucket(ref)
        try:
            await self._store.get_file(ref.bucket, ref.key, path)
            await _verify(ref, path)
        except BaseException:
            _remove(path)
            raise

    async def remove(self, ref: ObjectRef) -> None:
        """Remove one object; removing nothing is no error.

        Raises:
            PermissionDenied: the reference leads into another bucket.

        """
        self._check_bucket(ref)
        await self._store.delete(ref.bucket, ref.key)

    async def erase(self, project: str, resource_id: str) -> None:
        """Remove all objects of a resource."""
        await self._store.delete_prefix(self._bucket, f"{project}/{resource_id}/")

    def _check_bucket(self, ref: ObjectRef) -> None:
        if ref.bucket != self._bucket:
            message = f"the reference names bucket {ref.bucket}, and only {self._bucket} may be read here"
            raise PermissionDenied(message, bucket=ref.bucket)


async def _verify(ref: ObjectRef, data: bytes | Path) -> None:
    if await _measured_aside(data) != (ref.size, ref.sha256):
        raise ObjectDamaged(ref)


async def _measured_aside(data: bytes | Path) -> tuple[int, str]:
    if isinstance(data, bytes) and len(data) <= _SMALL_BYTES:
        return _measured(data)
    return await asyncio.to_thread(_measured, data)


def _measured(data: bytes | Path) -> tuple[int, str]:
    if isinstance(data, bytes):
        return len(data), hashlib.sha256(data).hexdigest()
    with data.open("rb") as file:
        return data.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _unavailable(what: str) -> DependencyUnavailable:
    message = f"the object store returned an unexpected response ({what}): try again later"
    return DependencyUnavailable(message, dependency="s3")
