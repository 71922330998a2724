"""gRPC, MongoDB and inference's API: what crosses the edges of harness runs."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from services.evaluator.tests.builders import ADA, DIGEST, request
from services.evaluator.tests.evaluations.test_grpc import settings
from services.evaluator.tests.harness_runs.harness import DAN, REPORT, Recorder, run_of
from tidemill.evaluator.v1 import harness_run_pb2 as pb
from tidemill.evaluator.v1 import harness_run_service_pb2 as rpc
from tidemill.evaluator.v1.harness_run_service_pb2_grpc import (
    HarnessRunServiceStub,
    add_HarnessRunServiceServicer_to_server,
)
from tidemill.inference.v1 import deployment_pb2
from tidemill.inference.v1.deployment_service_pb2_grpc import add_DeploymentServiceServicer_to_server
from tidemill.inference.v1.rollout_pb2 import Rollout, RolloutState
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.errors import HarnessRunNotFound
from tidemill_evaluator.harness_runs.domain.harness_run import HarnessRun, Live
from tidemill_evaluator.harness_runs.grpc import GrpcHarnessRunService
from tidemill_evaluator.harness_runs.inference import InferenceDeployments
from tidemill_evaluator.harness_runs.messages import event_message, run_message
from tidemill_evaluator.harness_runs.mongo import HARNESS_RUNS, MongoKeptReports
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database, connect
from tidemill_local import Addresses
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.clocks import NOON
from tidemill_testkit.direct_calls import DirectServer
from tidemill_testkit.stack import unique_name
from tidemill_testkit.stubs.inference import StubDeployments

EXAMPLES = Path(__file__).parents[4] / "protos" / "examples"


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    client = connect(stack.mongo, timeout_s=10)
    name = unique_name("evaluator")
    yield client[name]
    await client.drop_database(name)
    client.close()


async def test_runs_are_recorded_listed_and_compared_over_grpc() -> None:
    recorder = Recorder()
    service = GrpcHarnessRunService(runs=recorder.crud, record=recorder.record)
    server = DirectServer(
        settings(),
        [(add_HarnessRunServiceServicer_to_server, service)],
        access=access_of(),
        audit=RecordedCalls(),
    )
    await server.start()
    sent = run_message(run_of(DAN))
    async with admin_channel(f"127.0.0.1:{server.port}", project="acme") as channel:
        api = HarnessRunServiceStub(channel)
        asked = rpc.RecordHarnessRunRequest(run=sent, report=REPORT, request_id="r1")
        recorded, again = [(await api.RecordHarnessRun(asked)).run for _ in range(2)]
        found = (await api.GetHarnessRun(rpc.GetHarnessRunRequest(id=recorded.id))).run
        none = await api.ListHarnessRuns(rpc.ListHarnessRunsRequest(filter='deployment = "wiki"'))
        listed = await api.ListHarnessRuns(rpc.ListHarnessRunsRequest(filter='deployment = "helpdesk"'))
        both = rpc.CompareHarnessRunsRequest(baseline=found.id, candidate=found.id)
        compared = await api.CompareHarnessRuns(both)
        report = (await api.GetHarnessReport(rpc.GetHarnessReportRequest(id=found.id))).report
        sent.tool = pb.HARNESS_TOOL_UNSPECIFIED
        with pytest.raises(InvalidInput, match=r"run\.tool"):
            await api.RecordHarnessRun(rpc.RecordHarnessRunRequest(run=sent))
    await server.stop(1.0)

    assert recorded == again == found
    assert (found.state, found.report_bytes, found.confidence) == (
        pb.HARNESS_RUN_STATE_COMPLETED,
        len(REPORT),
        0.95,
    )
    (score,) = found.scores
    assert (score.rate, round(score.low, 3), round(score.high, 3)) == (0.8, 0.49, 0.943)
    assert (len(none.runs), [each.id for each in listed.runs]) == (0, [found.id])
    assert [(each.test, each.difference) for each in compared.comparisons] == [(DAN.test, 0.0)]
    assert compared.comparisons[0].baseline.passed == DAN.passed
    assert report == REPORT


async def test_the_event_is_that_of_the_example() -> None:
    recorder = Recorder()
    run = await recorder.recorded()

    ce_type, message = event_message(run, recorder.runs.published[0], 1)

    golden = json.loads((EXAMPLES / f"{ce_type}.json").read_text(encoding="utf-8"))
    sent = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    assert set(golden) == set(sent)
    assert (sent["passed"], sent["total"], sent["scores"], sent["tool"]) == (8, 10, 1, "HARNESS_TOOL_GARAK")


async def test_mongodb_finds_the_runs_that_name_a_report(database: Database) -> None:
    runs = MongoAggregates[HarnessRun](
        database["harness_runs"], codec=HARNESS_RUNS, topic="t", source="/s", missing=HarnessRunNotFound
    )
    kept = MongoKeptReports(database["harness_runs"])
    await kept.ensure_indexes()
    recorder = Recorder()
    for name, projects, report in (("1", ("acme", "globex"), REPORT), ("2", (), REPORT), ("3", ("acme",), b"")):
        run = run_of(DAN)
        live = Live(configuration=DIGEST, model="m@1", passages_of=projects)
        run.record(live, request_id=name, asked_by="", requester="", now=NOON)
        if report:
            run.name_report(await recorder.reports.name("acme", run.id, report), live, now=NOON)
        await runs.add(run, request=request(name))

    (searching,) = await kept.with_passages_of("globex")
    assert await kept.with_passages_of("acme") == [searching]
    later = NOON + timedelta(days=1)
    assert len(await kept.older_than("acme", later)) == 2
    assert await kept.older_than("acme", NOON) == await kept.older_than("globex", later) == []

    await runs.update("acme", searching.id, HarnessRun.forget_report, request=request())
    assert await kept.with_passages_of("globex") == []


@pytest.mark.parametrize(
    ("state", "rolling_out"),
    [
        (RolloutState.ROLLOUT_STATE_CANARY, True),
        (RolloutState.ROLLOUT_STATE_HELD, True),
        (RolloutState.ROLLOUT_STATE_PROMOTED, False),
    ],
)
async def test_a_deployment_is_read_with_whose_passages_it_shows(
    state: RolloutState.ValueType, *, rolling_out: bool
) -> None:
    known = StubDeployments()  # type: ignore[abstract] # it has what evaluator calls
    deployment = deployment_pb2.Deployment(id="helpdesk", rollout=Rollout(state=state))
    deployment.live.digest, deployment.live.model = DIGEST, "m@1"
    deployment.live.retrieval.collection = "globex/handbook"
    deployment.live.retrieval.other_collections.append("wiki")
    known.add(deployment)
    server = grpc.aio.server()
    add_DeploymentServiceServicer_to_server(known, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with admin_channel(f"127.0.0.1:{port}", project="acme") as channel:
        found = await InferenceDeployments(channel).live(ADA, "helpdesk")
    await server.stop(None)

    assert found == Live(configuration=DIGEST, model="m@1", passages_of=("acme", "globex"), rolling_out=rolling_out)
