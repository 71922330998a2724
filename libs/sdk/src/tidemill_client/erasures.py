"""Erasures of end users and documents, legal holds, and how long data is kept."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

from tidemill.monitor.v1 import erasure_service_pb2 as pb
from tidemill.monitor.v1 import hold_service_pb2 as holds
from tidemill.monitor.v1 import retention_service_pb2 as retention
from tidemill.monitor.v1.erasure_pb2 import Erasure
from tidemill.monitor.v1.hold_pb2 import Hold
from tidemill.monitor.v1.retention_pb2 import Retention, RetentionKind
from tidemill_client.connection import Connection
from tidemill_client.enums import value_of
from tidemill_client.pages import each
from tidemill_core.errors import PreconditionFailed


class CertificateDamaged(PreconditionFailed):
    """What arrived is not what its sha256 says."""

    reason = "CERTIFICATE_CHANGED"


class Erasures:
    """Erasures of a project: all services erase what they have, and a certificate says what that was."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def request(self, *, end_user: str = "", document: str = "", validate_only: bool = False) -> Erasure:
        """Request the erasure of an end user or a document; while one is running, it is returned."""
        request = pb.RequestErasureRequest(end_user=end_user, document=document, validate_only=validate_only)
        return (await self._connection.erasures.RequestErasure(request)).erasure

    async def get(self, erasure: str) -> Erasure:
        """Return one erasure, with the reports so far."""
        return (await self._connection.erasures.GetErasure(pb.GetErasureRequest(id=erasure))).erasure

    def all(self) -> AsyncIterator[Erasure]:
        """Yield the erasures of the project, oldest first."""
        return each(self._connection.erasures.ListErasures, pb.ListErasuresRequest(), lambda page: page.erasures)

    async def certificate(self, erasure: str) -> bytes:
        """Return the certificate of a completed erasure: canonical JSON.

        Raises:
            PreconditionFailed: the erasure is not completed, or the certificate was changed.
            NotFound: there is no such erasure, or its certificate is missing.

        """
        found = await self._connection.erasures.GetErasureCertificate(pb.GetErasureCertificateRequest(id=erasure))
        if hashlib.sha256(found.certificate).hexdigest() != found.sha256:
            message = f"the certificate of {erasure} is not the one with the sha256 {found.sha256}"
            raise CertificateDamaged(message)
        return found.certificate


class Holds:
    """Legal holds: what they cover is not erased."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(self, name: str, reason: str, *, end_user: str = "", document: str = "") -> Hold:
        """Hold an end user, a document, or with neither the whole project."""
        hold = Hold(id=name, reason=reason, end_user=end_user, document=document)
        return (await self._connection.holds.CreateHold(holds.CreateHoldRequest(hold=hold))).hold

    async def get(self, name: str) -> Hold:
        """Return one hold."""
        return (await self._connection.holds.GetHold(holds.GetHoldRequest(id=name))).hold

    def all(self) -> AsyncIterator[Hold]:
        """Yield the holds of the project, released ones too, oldest first."""
        return each(self._connection.holds.ListHolds, holds.ListHoldsRequest(), lambda page: page.holds)

    async def release(self, name: str) -> Hold:
        """Release a hold that another admin created."""
        return (await self._connection.holds.ReleaseHold(holds.ReleaseHoldRequest(id=name))).hold


class Retentions:
    """How long the project keeps kinds of data, where that differs from the services' settings."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def set(self, kind: str, days: int) -> Retention:
        """Keep a kind of data for so many days; 0 leaves it to the service's setting."""
        request = retention.SetRetentionRequest(kind=value_of(RetentionKind, kind, field="kind"), days=days)
        return (await self._connection.retention.SetRetention(request)).retention

    def all(self) -> AsyncIterator[Retention]:
        """Yield what the project has set."""
        request: Any = retention.ListRetentionRequest()
        return each(self._connection.retention.ListRetention, request, lambda page: page.retention)
