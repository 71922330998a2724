"""Erasures by monitor as a process: what other services report while it is down, and a project to its end."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from services.monitor.tests.process.test_process import MonitorProcess, admin_token, channel
from tidemill.monitor.v1 import access_pb2, audit_service_pb2, erasure_pb2, hold_pb2
from tidemill.monitor.v1 import access_service_pb2 as access_rpcs
from tidemill.monitor.v1 import erasure_service_pb2 as pb
from tidemill.monitor.v1 import hold_service_pb2 as holds
from tidemill.monitor.v1.access_service_pb2_grpc import AccessServiceStub
from tidemill.monitor.v1.audit_service_pb2_grpc import AuditServiceStub
from tidemill.monitor.v1.erasure_service_pb2_grpc import ErasureServiceStub
from tidemill.monitor.v1.hold_service_pb2_grpc import HoldServiceStub
from tidemill_core.application import derived_id
from tidemill_core.errors import PreconditionFailed
from tidemill_kit.erasure.erasures import REPORTS
from tidemill_kit.events.cloudevents import CloudEvent, to_headers
from tidemill_kit.store.mongo import connect
from tidemill_local import Addresses
from tidemill_monitor.erasures.domain.erasure import SERVICES
from tidemill_monitor.erasures.events import COMPLETED
from tidemill_testkit.polling import eventually
from tidemill_testkit.stack import unique_name

CERTIFIED = "tidemill.monitor.erasure.certified.v1"
TIME = datetime(2026, 1, 1, 12, tzinfo=UTC)


class ErasingMonitor(MonitorProcess):
    """Monitor that erases at once."""

    def _settings(self) -> dict[str, str]:
        return super()._settings() | {
            "ERASURE_RECHECK_S": "0",
            "ERASURE_POLL_INTERVAL_S": "0.5",
            "CERTIFICATE_POLL_INTERVAL_S": "0.5",
            "CERTIFICATE_BUCKET": self.database,
        }


@pytest.fixture
async def monitor(stack: Addresses, tmp_path: Path) -> AsyncIterator[ErasingMonitor]:
    process = ErasingMonitor(stack=stack, folder=tmp_path, own_issuer=True)
    await asyncio.to_thread(process.start)
    yield process
    assert await asyncio.to_thread(process.stop) == 0
    client = connect(stack.mongo, timeout_s=10)
    await client.drop_database(process.database)
    client.close()


async def report(stack: Addresses, erasure: erasure_pb2.Erasure, services: Sequence[str]) -> None:
    """Report as other services do."""
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka, acks="all") as producer:
        for service in services:
            body = {
                "id": erasure.id,
                "project": erasure.project,
                "service": service,
                "counts": [{"kind": "things", "count": "3"}],
                "start_time": "2026-01-01T12:00:01Z",
                "complete_time": "2026-01-01T12:01:05Z",
                "seq": "1",
            }
            sent = CloudEvent(
                id=derived_id(service, erasure.id),
                source=f"/tidemill/{service}",
                type=COMPLETED,
                subject=erasure.id,
                project=erasure.project,
                time=TIME,
                data=json.dumps(body).encode(),
                seq=1,
            )
            key = f"{erasure.project}/{erasure.id}".encode()
            await producer.send_and_wait(REPORTS, sent.data, key=key, headers=list(to_headers(sent)))


async def get(monitor: MonitorProcess, project: str, erasure: str) -> erasure_pb2.Erasure:
    async with channel(monitor, project, admin_token(monitor)) as opened:
        return (await ErasureServiceStub(opened).GetErasure(pb.GetErasureRequest(id=erasure))).erasure


async def test_reports_that_came_while_monitor_was_down_are_certified_and_recorded(monitor: ErasingMonitor) -> None:
    project = unique_name("acme").replace("_", "-")
    async with channel(monitor, project, admin_token(monitor)) as opened:
        request = pb.RequestErasureRequest(end_user="ada@example.org")
        erasure = (await ErasureServiceStub(opened).RequestErasure(request)).erasure

    others = [each for each in SERVICES if each != "monitor"]

    async def own_report() -> bool:  # services of other tests on the same topics may have reported as well
        return "monitor" not in (await get(monitor, project, erasure.id)).awaited_services

    await eventually(own_report)
    await asyncio.to_thread(monitor.kill)
    await report(monitor.stack, erasure, others)
    await report(monitor.stack, erasure, others[:2])
    await asyncio.to_thread(monitor.start)

    async def completed() -> bool:
        return (await get(monitor, project, erasure.id)).state == erasure_pb2.ERASURE_STATE_COMPLETED

    await eventually(completed)
    async with channel(monitor, project, admin_token(monitor)) as opened:
        asked = pb.GetErasureCertificateRequest(id=erasure.id)
        found = await ErasureServiceStub(opened).GetErasureCertificate(asked)
        audit = AuditServiceStub(opened)
        chosen = audit_service_pb2.ListAuditRecordsRequest(filter=audit_service_pb2.AuditFilter(method=CERTIFIED))

        async def recorded() -> bool:
            return len((await audit.ListAuditRecords(chosen)).records) == 1

        await eventually(recorded)
        (record,) = (await audit.ListAuditRecords(chosen)).records

    certificate = json.loads(found.certificate)
    assert certificate["services"].keys() == set(SERVICES)
    assert {"things": 3} in [each["erased"] for each in certificate["services"].values()]
    assert record.reply_digest == found.sha256 == hashlib.sha256(found.certificate).hexdigest()
    assert record.resource == erasure.id
    assert "ada@example.org" not in found.certificate.decode() + monitor.log.read_text()


async def test_a_deleted_project_is_erased_to_its_end_but_not_while_it_is_held(monitor: ErasingMonitor) -> None:
    project = unique_name("acme").replace("_", "-")
    async with channel(monitor, project, admin_token(monitor)) as opened:
        access, held = AccessServiceStub(opened), HoldServiceStub(opened)
        fresh = access_pb2.Project(id=project, display_name="Acme Corporation")
        await access.CreateProject(access_rpcs.CreateProjectRequest(project=fresh, admin="user:ada"))
        account = access_pb2.ServiceAccount(id="ci", roles=["viewer"])
        await access.CreateServiceAccount(access_rpcs.CreateServiceAccountRequest(service_account=account))
        hold = hold_pb2.Hold(id="case-1", reason="1/2026", end_user="u")
        await held.CreateHold(holds.CreateHoldRequest(hold=hold))
        with pytest.raises(PreconditionFailed) as refused:
            await access.DeleteProject(access_rpcs.DeleteProjectRequest(id=project))
        await held.ReleaseHold(holds.ReleaseHoldRequest(id="case-1"))
        deleting = (await access.DeleteProject(access_rpcs.DeleteProjectRequest(id=project))).project
        erasures = ErasureServiceStub(opened)

        async def requested() -> bool:
            return len((await erasures.ListErasures(pb.ListErasuresRequest())).erasures) == 1

        await eventually(requested)
        (erasure,) = (await erasures.ListErasures(pb.ListErasuresRequest())).erasures
        await report(monitor.stack, erasure, [each for each in SERVICES if each != "monitor"])

        async def deleted() -> bool:
            found = (await access.GetProject(access_rpcs.GetProjectRequest(id=project))).project
            return found.state == access_pb2.PROJECT_STATE_DELETED

        await eventually(deleted)
        done = (await erasures.GetErasure(pb.GetErasureRequest(id=erasure.id))).erasure
        project_left = (await access.GetProject(access_rpcs.GetProjectRequest(id=project))).project
        holds_left = (await held.ListHolds(holds.ListHoldsRequest())).holds

    assert refused.value.reason == "LEGAL_HOLD"
    assert (deleting.state, done.scope) == (access_pb2.PROJECT_STATE_DELETING, erasure_pb2.ERASURE_SCOPE_PROJECT)
    own = {each.kind: each.count for report in done.reports if report.service == "monitor" for each in report.counts}
    assert {name: count for name, count in own.items() if count} == {
        "members": 1,
        "service accounts": 1,
        "released holds": 1,
    }
    assert project_left.display_name == ""
    assert [(each.end_user, each.reason) for each in holds_left] == [("", "")]
    database = connect(monitor.stack.mongo, timeout_s=10)[monitor.database]
    names = {"api_keys", "service_accounts", "roles", "grants", "nodes", "edges", "batches", "retention"}
    assert [name for name in names if await database[name].find_one({"_id": {"$regex": f"^{project}/"}})] == []
