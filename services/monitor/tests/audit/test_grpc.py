"""AuditService on a real server."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from services.monitor.tests.audit.harness import InMemoryAnchors, event_of, recorded
from services.monitor.tests.lineage.test_grpc import settings
from tidemill.monitor.v1 import audit_service_pb2 as pb
from tidemill.monitor.v1.audit_pb2 import AuditOutcome
from tidemill.monitor.v1.audit_service_pb2_grpc import AuditServiceStub, add_AuditServiceServicer_to_server
from tidemill_core.audit import Head, verify
from tidemill_core.errors import InvalidInput
from tidemill_kit.grpc.server import timestamp_of
from tidemill_kit.store.mongo import Database
from tidemill_monitor.audit.anchor_heads import AnchorHeads
from tidemill_monitor.audit.append_record import AppendRecord
from tidemill_monitor.audit.grpc import GrpcAuditService
from tidemill_monitor.audit.mongo import MongoChains
from tidemill_monitor.audit.read_records import ReadRecords
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.clocks import NOON, FixedClock
from tidemill_testkit.direct_calls import DirectServer


class Served:
    """Three records of acme and one of the installation, one anchor each."""

    def __init__(self, database: Database) -> None:
        chains = MongoChains(database["audit_records"], database["audit_heads"])
        anchors = InMemoryAnchors()
        self.read = ReadRecords(chains=chains, anchors=anchors)
        self._append = AppendRecord(chains=chains)
        self._anchor = AnchorHeads(chains=chains, anchors=anchors, clock=FixedClock(), keep=None)

    async def fill(self) -> None:
        for number in (1, 2, 3):
            await self._append.call(event_of(number), recorded(number))
        await self._append.call(event_of(project="installation"), recorded(project=""))
        await self._anchor()


@pytest.fixture
async def audit(database: Database) -> AsyncIterator[AuditServiceStub]:
    served = Served(database)
    await served.fill()
    service = GrpcAuditService(read=served.read)
    server = DirectServer(
        settings(), [(add_AuditServiceServicer_to_server, service)], access=access_of(), audit=RecordedCalls()
    )
    await server.start()
    async with admin_channel(f"127.0.0.1:{server.port}", project="acme") as channel:
        yield AuditServiceStub(channel)
    await server.stop(1.0)


async def test_records_are_listed_as_they_were_recorded(audit: AuditServiceStub) -> None:
    page = await audit.ListAuditRecords(pb.ListAuditRecordsRequest(page_size=2))
    assert [each.seq for each in page.records] == [3, 2]
    newest = page.records[0]
    assert (newest.subject, newest.resource, newest.service, newest.code) == ("user:ada", "cms", "ingest", "OK")
    assert (newest.outcome, newest.count) == (AuditOutcome.AUDIT_OUTCOME_SUCCEEDED, 1)
    assert newest.begin_time == timestamp_of(NOON + timedelta(minutes=3))
    rest = await audit.ListAuditRecords(pb.ListAuditRecordsRequest(page_token=page.next_page_token))
    assert [each.seq for each in rest.records] == [1]


async def test_records_are_chosen_by_a_filter(audit: AuditServiceStub) -> None:
    chosen = pb.AuditFilter(subject="user:ada", start_time=timestamp_of(NOON + timedelta(minutes=2)))
    page = await audit.ListAuditRecords(pb.ListAuditRecordsRequest(filter=chosen))
    assert [each.seq for each in page.records] == [3, 2]
    none = pb.AuditFilter(end_time=timestamp_of(NOON))
    assert not (await audit.ListAuditRecords(pb.ListAuditRecordsRequest(filter=none))).records


async def test_a_page_of_a_negative_size_is_refused(audit: AuditServiceStub) -> None:
    with pytest.raises(InvalidInput):
        await audit.ListAuditRecords(pb.ListAuditRecordsRequest(page_size=-1))


async def test_an_export_is_verified_by_head_and_anchors(audit: AuditServiceStub) -> None:
    pieces = [each async for each in audit.ExportAuditRecords(pb.ExportAuditRecordsRequest())]
    head = await audit.GetAuditHead(pb.GetAuditHeadRequest())
    lines = b"".join(each.chunk for each in pieces).splitlines(keepends=True)
    anchors = [Head(seq=each.seq, hash=each.hash) for each in head.anchors]
    assert (verify(lines, anchors).defect, verify(lines, anchors).last) == (None, 3)
    assert (pieces[-1].records, pieces[-1].total_records, head.seq, len(anchors)) == (3, 3, 3, 1)


async def test_the_installation_has_records_of_its_own(audit: AuditServiceStub) -> None:
    page = await audit.ListInstallationAuditRecords(pb.ListInstallationAuditRecordsRequest())
    assert [(each.seq, each.project) for each in page.records] == [(1, "")]
    request = pb.ExportInstallationAuditRecordsRequest()
    pieces = [each async for each in audit.ExportInstallationAuditRecords(request)]
    assert verify(b"".join(each.chunk for each in pieces).splitlines(keepends=True)).records == 1
    assert (await audit.GetInstallationAuditHead(pb.GetInstallationAuditHeadRequest())).seq == 1
