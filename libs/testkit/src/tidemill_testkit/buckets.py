"""Buckets of tests on the real object store."""

import asyncio

from minio import Minio
from minio.deleteobjects import DeleteObject

from tidemill_local import Addresses


async def remove_bucket(stack: Addresses, bucket: str) -> None:
    """Remove a bucket, if it exists, with all that is in it: the embedded server has space for some dozens only."""
    client = Minio(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)

    def remove() -> None:
        if not client.bucket_exists(bucket):
            return
        found = client.list_objects(bucket, recursive=True)
        errors = list(client.remove_objects(bucket, [DeleteObject(each.object_name or "") for each in found]))
        assert not errors, errors
        client.remove_bucket(bucket)

    await asyncio.to_thread(remove)
