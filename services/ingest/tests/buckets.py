"""Buckets that tests leave behind: a small S3 server has space for only so many."""

from minio import Minio
from minio.deleteobjects import DeleteObject

from tidemill_local import Addresses


def remove_buckets(stack: Addresses, *buckets: str) -> None:
    s3 = stack.s3
    client = Minio(s3.endpoint, s3.access_key, s3.secret_key, secure=False)
    for bucket in buckets:
        if client.bucket_exists(bucket):
            found = client.list_objects(bucket, recursive=True)
            errors = client.remove_objects(bucket, [DeleteObject(each.object_name or "") for each in found])
            assert not [*errors]
            client.remove_bucket(bucket)
