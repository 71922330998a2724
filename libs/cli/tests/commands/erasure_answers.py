# ruff: noqa: ANN401 - messages of many kinds
"""What monitor says of erasures, legal holds and retention."""

import hashlib
from collections.abc import Callable
from typing import Any

from tidemill.monitor.v1 import erasure_service_pb2 as er_rpc
from tidemill.monitor.v1 import hold_service_pb2 as ho_rpc
from tidemill.monitor.v1 import retention_service_pb2 as re_rpc
from tidemill.monitor.v1.erasure_pb2 import (
    ERASURE_SCOPE_DOCUMENT,
    ERASURE_SCOPE_END_USER,
    ERASURE_STATE_COMPLETED,
    ERASURE_STATE_HELD,
    Erasure,
    ErasureCount,
    ErasureReport,
)
from tidemill.monitor.v1.hold_pb2 import HOLD_STATE_ACTIVE, HOLD_STATE_RELEASED, Hold
from tidemill.monitor.v1.retention_pb2 import RETENTION_KIND_ANSWERS, RETENTION_KIND_FEEDBACK, Retention

CERTIFICATE = b'{"format":"tidemill.erasure.v1","id":"er-2","scope":"end_user"}'
DIGEST = hashlib.sha256(CERTIFICATE).hexdigest()


def held() -> Erasure:
    erasure = Erasure(
        id="er-1",
        scope=ERASURE_SCOPE_DOCUMENT,
        document="doc-7",
        requester="user:ada",
        state=ERASURE_STATE_HELD,
        hold="case-14",
        awaited_services=["rag", "trainer"],
    )
    erasure.request_time.FromSeconds(1_790_000_000)
    erasure.due_time.FromSeconds(1_790_086_400)
    return erasure


def completed() -> Erasure:
    erasure = Erasure(
        id="er-2",
        scope=ERASURE_SCOPE_END_USER,
        subject_digest="ab" * 32,
        requester="user:ada",
        state=ERASURE_STATE_COMPLETED,
        certificate_sha256=DIGEST,
        reports=[ErasureReport(service="feedback", counts=[ErasureCount(kind="reactions", count=12)])],
    )
    erasure.complete_time.FromSeconds(1_790_003_600)
    return erasure


def hold(**fields: Any) -> Hold:
    given: dict[str, Any] = {"id": "case-14", "reason": "14/2026", "creator": "user:ada", "state": HOLD_STATE_ACTIVE}
    return Hold(**(given | fields))


def requested(request: er_rpc.RequestErasureRequest) -> er_rpc.RequestErasureResponse:
    erasure = Erasure(id="er-3", end_user=request.end_user, document=request.document, scope=ERASURE_SCOPE_END_USER)
    return er_rpc.RequestErasureResponse(erasure=erasure)


def shown(request: er_rpc.GetErasureRequest) -> er_rpc.GetErasureResponse:
    return er_rpc.GetErasureResponse(erasure=completed() if request.id == "er-2" else held())


def set_retention(request: re_rpc.SetRetentionRequest) -> re_rpc.SetRetentionResponse:
    return re_rpc.SetRetentionResponse(retention=Retention(kind=request.kind, days=request.days))


def created(request: ho_rpc.CreateHoldRequest) -> ho_rpc.CreateHoldResponse:
    request.hold.creator, request.hold.state = "user:ada", HOLD_STATE_ACTIVE
    return ho_rpc.CreateHoldResponse(hold=request.hold)


def listed(request: ho_rpc.ListHoldsRequest) -> ho_rpc.ListHoldsResponse:
    released = hold(id="case-9", end_user="u-17", state=HOLD_STATE_RELEASED, releaser="user:bob")
    return ho_rpc.ListHoldsResponse(holds=[hold()] if request.filter else [hold(), released])


ERASURE_ANSWERS: dict[str, Callable[[Any], Any]] = {
    "monitor.v1.erasure_service:RequestErasure": requested,
    "monitor.v1.erasure_service:GetErasure": shown,
    "monitor.v1.erasure_service:ListErasures": lambda _: er_rpc.ListErasuresResponse(erasures=[held(), completed()]),
    "monitor.v1.erasure_service:GetErasureCertificate": lambda _: er_rpc.GetErasureCertificateResponse(
        certificate=CERTIFICATE, sha256=DIGEST
    ),
    "monitor.v1.hold_service:CreateHold": created,
    "monitor.v1.hold_service:GetHold": lambda _: ho_rpc.GetHoldResponse(hold=hold()),
    "monitor.v1.hold_service:ListHolds": listed,
    "monitor.v1.hold_service:ReleaseHold": lambda request: ho_rpc.ReleaseHoldResponse(
        hold=hold(id=request.id, state=HOLD_STATE_RELEASED, releaser="user:bob")
    ),
    "monitor.v1.retention_service:SetRetention": set_retention,
    "monitor.v1.retention_service:ListRetention": lambda _: re_rpc.ListRetentionResponse(
        retention=[Retention(kind=RETENTION_KIND_ANSWERS, days=30), Retention(kind=RETENTION_KIND_FEEDBACK, days=0)]
    ),
}
