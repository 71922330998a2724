from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache

import pytest

from services.monitor.tests.fakes import Monitor
from services.monitor.tests.story import a_turn
from tidemill.monitor.v1 import lineage_service_pb2 as pb
from tidemill.monitor.v1.lineage_service_pb2_grpc import LineageServiceStub, add_LineageServiceServicer_to_server
from tidemill_core.errors import InvalidInput, NotFound, Unauthenticated
from tidemill_monitor.lineage.grpc import GrpcLineageService
from tidemill_monitor.settings import MonitorSettings
from tidemill_testkit.access import access_of, admin_channel, installation
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.clocks import NOON
from tidemill_testkit.direct_calls import DirectServer


@dataclass(kw_only=True)
class ApiClient:
    """A real server on a free port, and a stub for project acme."""

    monitor: Monitor
    port: int
    stub: LineageServiceStub


BACK = pb.LINEAGE_DIRECTION_BACK


@cache
def settings() -> MonitorSettings:
    return MonitorSettings.model_validate(
        {
            "grpc_port": 0,
            "access_issuers": (installation().setting,),
            "kafka_bootstrap_servers": "127.0.0.1:1",
            "mongo_uri": "mongodb://127.0.0.1:1",
            "s3_endpoint": "127.0.0.1:1",
            "s3_access_key": "key",
            "s3_secret_key": "secret",
        }
    )


@pytest.fixture
async def api() -> AsyncIterator[ApiClient]:
    monitor = Monitor()
    servicer = GrpcLineageService(lineage=monitor.read, timeline=monitor.timeline)
    server = DirectServer(
        settings(), [(add_LineageServiceServicer_to_server, servicer)], access=access_of(), audit=RecordedCalls()
    )
    await server.start()
    channel = admin_channel(f"127.0.0.1:{server.port}", project="acme")
    yield ApiClient(monitor=monitor, port=server.port, stub=LineageServiceStub(channel))
    await channel.close()
    await server.stop(1.0)


def asked(**fields: object) -> pb.GetLineageRequest:
    return pb.GetLineageRequest(**{"kind": "model_version", "id": "helpdesk_lora@1", "direction": BACK} | fields)  # type: ignore[arg-type]


async def test_a_lineage_comes_through_the_api_with_what_is_folded(api: ApiClient) -> None:
    await api.monitor.consume(a_turn(reactions=30))

    reply = await api.stub.GetLineage(asked(nodes_of_kind=5))

    first, folded = reply.nodes[0], [node for node in reply.nodes if node.folded]
    assert (first.kind, first.id, first.label) == ("model_version", "helpdesk_lora@1", "helpdesk_lora@1")
    assert first.facts["state"] == "ready"
    assert first.time.ToDatetime(NOON.tzinfo) > NOON
    assert [(node.kind, node.id, node.label, node.folded) for node in folded] == [("feedback", "", "25 more", 25)]
    assert reply.cut
    shown = {(node.kind, node.id) for node in reply.nodes}
    for edge in reply.edges:
        assert {(edge.source_kind, edge.source_id), (edge.target_kind, edge.target_id)} <= shown
    assert ("feedback", "", "curation", "helpdesk_sft@1", "example_of") in {
        (edge.source_kind, edge.source_id, edge.target_kind, edge.target_id, edge.relation) for edge in reply.edges
    }
    labels = {node.label for node in reply.nodes if node.kind == "document_version"}
    assert labels == {"kb/d1@1", "kb/d2@1"}


async def test_each_direction_leads_elsewhere(api: ApiClient) -> None:
    await api.monitor.consume(a_turn())

    back = await api.stub.GetLineage(asked(depth=1))
    forward = await api.stub.GetLineage(asked(depth=1, direction=pb.LINEAGE_DIRECTION_FORWARD))

    assert [node.kind for node in back.nodes] == ["model_version", "training_run"]
    assert {node.kind for node in forward.nodes[1:]} == {"inference", "evaluation", "rollout"}


async def test_a_timeline_comes_through_the_api(api: ApiClient) -> None:
    await api.monitor.consume(a_turn())

    reply = await api.stub.GetTimeline(pb.GetTimelineRequest(deployment="helpdesk", rollout="ro-1"))

    assert [entry.event.split(".")[-2] for entry in reply.entries][-2:] == ["promoted", "configured"]
    assert reply.entries[-2].facts["weight"] == "100"
    assert [entry.time.ToDatetime() for entry in reply.entries] == sorted(e.time.ToDatetime() for e in reply.entries)
    assert not reply.cut


async def test_what_is_not_known_or_cannot_be_asked_is_said_at_the_api(api: ApiClient) -> None:
    with pytest.raises(NotFound) as missing:
        await api.stub.GetLineage(asked())
    with pytest.raises(InvalidInput) as wrong:
        await api.stub.GetLineage(asked(direction=pb.LINEAGE_DIRECTION_UNSPECIFIED))
    with pytest.raises(NotFound) as unknown:
        await api.stub.GetTimeline(pb.GetTimelineRequest(deployment="helpdesk"))

    assert (missing.value.reason, unknown.value.reason) == ("NOTHING_KNOWN", "DEPLOYMENT_UNKNOWN")
    assert [violation.field for violation in wrong.value.violations] == ["direction"]


async def test_another_project_sees_nothing_and_calls_without_one_are_refused(api: ApiClient) -> None:
    await api.monitor.consume(a_turn())
    async with admin_channel(f"127.0.0.1:{api.port}", project="other") as channel:
        with pytest.raises(NotFound):
            await LineageServiceStub(channel).GetLineage(asked())
    async with admin_channel(f"127.0.0.1:{api.port}", project="No project") as channel:
        with pytest.raises(Unauthenticated):
            await LineageServiceStub(channel).GetLineage(asked())
