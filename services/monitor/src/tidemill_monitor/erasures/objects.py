"""Certificates in the object store: `<project>/<erasure>/<sha256>`."""

from tidemill_core.aggregate import ObjectRef
from tidemill_kit.store.objects import ExchangeBucket, ObjectDamaged, ObjectMissing
from tidemill_monitor.errors import CertificateChanged, CertificateMissing


class ObjectCertificates:
    """Implements `ports.Certificates`."""

    def __init__(self, bucket: ExchangeBucket) -> None:
        self._bucket = bucket

    async def put(self, project: str, erasure: str, content: bytes) -> ObjectRef:
        """See `Certificates.put`."""
        return await self._bucket.put(project, erasure, content, media_type="application/json")

    async def get(self, erasure: str, ref: ObjectRef) -> bytes:
        """See `Certificates.get`."""
        try:
            return await self._bucket.get(ref)
        except ObjectMissing:
            raise CertificateMissing(erasure, ref) from None
        except ObjectDamaged:
            raise CertificateChanged(erasure, ref) from None
