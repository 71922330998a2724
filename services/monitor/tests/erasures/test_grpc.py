"""ErasureService, HoldService and RetentionService on a real server."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import pytest

from services.monitor.tests.erasures.harness import Erasing
from services.monitor.tests.lineage.test_grpc import settings
from services.monitor.tests.retention.test_retention import crud, store
from tidemill.monitor.v1 import erasure_pb2, hold_pb2, retention_pb2
from tidemill.monitor.v1 import erasure_service_pb2 as er
from tidemill.monitor.v1 import hold_service_pb2 as ho
from tidemill.monitor.v1 import retention_service_pb2 as re
from tidemill.monitor.v1.erasure_service_pb2_grpc import ErasureServiceStub, add_ErasureServiceServicer_to_server
from tidemill.monitor.v1.hold_service_pb2_grpc import HoldServiceStub, add_HoldServiceServicer_to_server
from tidemill.monitor.v1.retention_service_pb2_grpc import (
    RetentionServiceStub,
    add_RetentionServiceServicer_to_server,
)
from tidemill_core.errors import InvalidInput, NotFound, PermissionDenied, PreconditionFailed
from tidemill_core.grpc.client import open_channel
from tidemill_monitor.erasures.domain.erasure import Erasure, ErasureScope
from tidemill_monitor.erasures.grpc import GrpcErasureService
from tidemill_monitor.holds.domain import Hold
from tidemill_monitor.holds.grpc import GrpcHoldService
from tidemill_monitor.retention.domain import Retention, RetentionKind
from tidemill_monitor.retention.grpc import GrpcRetentionService
from tidemill_testkit.access import access_of, installation
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer
from tidemill_testkit.mapping import unsent

PROJECTS = ("acme", "globex")


@dataclass(kw_only=True)
class ApiClient:
    """A server on a free port, with stubs of one project."""

    erasing: Erasing
    audit: RecordedCalls
    channel: grpc.aio.Channel
    other: grpc.aio.Channel
    bob: grpc.aio.Channel

    @property
    def erasures(self) -> ErasureServiceStub:
        return ErasureServiceStub(self.channel)

    @property
    def holds(self) -> HoldServiceStub:
        return HoldServiceStub(self.channel)

    @property
    def of_bob(self) -> HoldServiceStub:
        return HoldServiceStub(self.bob)

    @property
    def retention(self) -> RetentionServiceStub:
        return RetentionServiceStub(self.channel)


@pytest.fixture
async def api() -> AsyncIterator[ApiClient]:
    erasing, audit = Erasing(), RecordedCalls()
    servicers: Any = [
        (
            add_ErasureServiceServicer_to_server,
            GrpcErasureService(request_erasure=erasing.request, read=erasing.read),
        ),
        (add_HoldServiceServicer_to_server, GrpcHoldService(holds=erasing.holds)),
        (add_RetentionServiceServicer_to_server, GrpcRetentionService(retention=crud(store()))),
    ]
    server = DirectServer(settings(), servicers, access=access_of(), audit=audit)
    await server.start()
    address = f"127.0.0.1:{server.port}"
    channels = [open_channel(address, credential=partial(installation().token, name, "admin")) for name in PROJECTS]
    bob = partial(installation().token, "acme", "admin", subject="user:bob")
    channels.append(open_channel(address, credential=bob))
    yield ApiClient(erasing=erasing, audit=audit, channel=channels[0], other=channels[1], bob=channels[2])
    for channel in channels:
        await channel.close()
    await server.stop(1.0)


async def test_an_erasure_comes_through_the_api_with_its_certificate(api: ApiClient) -> None:
    asked = er.RequestErasureRequest(end_user="ada@example.org", request_id="r")
    requested = (await api.erasures.RequestErasure(asked)).erasure
    stored = await api.erasing.store.get("acme", requested.id)
    with pytest.raises(PreconditionFailed) as early:
        await api.erasures.GetErasureCertificate(er.GetErasureCertificateRequest(id=requested.id))
    await api.erasing.completed(stored)
    got = (await api.erasures.GetErasure(er.GetErasureRequest(id=requested.id))).erasure
    listed = (await api.erasures.ListErasures(er.ListErasuresRequest())).erasures
    found = await api.erasures.GetErasureCertificate(er.GetErasureCertificateRequest(id=requested.id))

    assert (requested.state, requested.scope) == (erasure_pb2.ERASURE_STATE_PENDING, erasure_pb2.ERASURE_SCOPE_END_USER)
    assert (requested.end_user, requested.project) == ("ada@example.org", "acme")
    assert len(requested.awaited_services) == 7
    assert early.value.reason == "ERASURE_NOT_COMPLETED"
    assert list(listed) == [got]
    assert (got.state, got.end_user) == (erasure_pb2.ERASURE_STATE_COMPLETED, "")
    assert {each.service: [(c.kind, c.count) for c in each.counts] for each in got.reports}["rag"] == [("documents", 1)]
    assert json.loads(found.certificate)["id"] == got.id
    assert found.sha256 == got.certificate_sha256
    with pytest.raises(NotFound):
        await ErasureServiceStub(api.other).GetErasure(er.GetErasureRequest(id=requested.id))


async def test_the_audit_record_of_a_request_names_the_end_user_by_a_digest(api: ApiClient) -> None:
    await api.erasures.RequestErasure(er.RequestErasureRequest(end_user="ada@example.org"))
    await api.erasures.RequestErasure(er.RequestErasureRequest(document="doc-7"))

    named = [call.resource for call in api.audit.ended]
    assert "ada@example.org" not in repr(named)
    assert named[1] == "doc-7"
    assert len(named[0]) > 0


async def test_holds_come_through_the_api(api: ApiClient) -> None:
    given = hold_pb2.Hold(id="case-1", reason="14/2026", end_user="u", labels={"team": "x"}, creator="user:forged")
    created = (await api.holds.CreateHold(ho.CreateHoldRequest(hold=given))).hold
    with pytest.raises(PreconditionFailed) as held:
        await api.erasures.RequestErasure(er.RequestErasureRequest(end_user="u"))
    active = ho.ListHoldsRequest(filter='state = "active"')
    before = (await api.holds.ListHolds(active)).holds
    with pytest.raises(PermissionDenied) as own:
        await api.holds.ReleaseHold(ho.ReleaseHoldRequest(id="case-1"))
    released = (await api.of_bob.ReleaseHold(ho.ReleaseHoldRequest(id="case-1", etag=created.etag))).hold

    assert (created.state, created.creator) == (hold_pb2.HOLD_STATE_ACTIVE, "user:ada")
    assert dict(created.labels) == {"team": "x"}
    assert own.value.reason == "RELEASE_BY_CREATOR"
    assert held.value.reason == "LEGAL_HOLD"
    assert list(before) == [created]
    assert (released.state, released.releaser) == (hold_pb2.HOLD_STATE_RELEASED, "user:bob")
    assert not (await api.holds.ListHolds(active)).holds
    assert (await api.holds.GetHold(ho.GetHoldRequest(id="case-1"))).hold == released
    with pytest.raises(NotFound):
        await HoldServiceStub(api.other).ReleaseHold(ho.ReleaseHoldRequest(id="case-1"))
    with pytest.raises(InvalidInput):
        await api.holds.CreateHold(ho.CreateHoldRequest())


async def test_retention_comes_through_the_api(api: ApiClient) -> None:
    request = re.SetRetentionRequest(kind=retention_pb2.RETENTION_KIND_ANSWERS, days=30)
    set_to = (await api.retention.SetRetention(request)).retention

    assert (set_to.kind, set_to.days, set_to.project) == (retention_pb2.RETENTION_KIND_ANSWERS, 30, "acme")
    assert list((await api.retention.ListRetention(re.ListRetentionRequest())).retention) == [set_to]
    for refused in (re.SetRetentionRequest(days=30), re.SetRetentionRequest(kind=99, days=30)):  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="kind"):
            await api.retention.SetRetention(refused)


def test_what_callers_do_not_see_is_chosen_by_name() -> None:
    assert unsent(erasure_pb2.Erasure, Erasure) == {"subject", "certificate", "labels"}
    assert unsent(hold_pb2.Hold, Hold) == set()
    assert unsent(retention_pb2.Retention, Retention) == {"id", "labels"}


def test_scopes_and_kinds_are_those_of_the_contract() -> None:
    assert {each.name for each in ErasureScope} == names(erasure_pb2.ErasureScope)
    assert {each.name for each in RetentionKind} == names(retention_pb2.RetentionKind)


def names(enum: Any) -> set[str]:  # noqa: ANN401 - generated enums have no type in common
    prefix = f"{enum.keys()[0].removesuffix('UNSPECIFIED')}"
    return {each.removeprefix(prefix) for each in enum.keys()[1:]}
