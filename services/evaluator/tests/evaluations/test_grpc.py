"""Real gRPC servers on a free port, with in-memory stores."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from services.evaluator.tests.builders import TUNED, cases, name_of
from services.evaluator.tests.harness import Evaluator
from tidemill.evaluator.v1 import evaluation_pb2 as pb
from tidemill.evaluator.v1 import evaluation_service_pb2 as rpc
from tidemill.evaluator.v1 import suite_pb2, suite_service_pb2
from tidemill.evaluator.v1.evaluation_service_pb2_grpc import (
    EvaluationServiceStub,
    add_EvaluationServiceServicer_to_server,
)
from tidemill.evaluator.v1.suite_service_pb2_grpc import SuiteServiceStub, add_SuiteServiceServicer_to_server
from tidemill_core.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    NotFound,
    PreconditionFailed,
    Unauthenticated,
)
from tidemill_evaluator.evaluations.wiring import GrpcEvaluationService
from tidemill_evaluator.settings import EvaluatorSettings
from tidemill_evaluator.suites.grpc import GrpcSuiteService
from tidemill_testkit.access import access_of, admin_channel, installation
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer


@dataclass(frozen=True, kw_only=True)
class ApiClient:
    """Stubs for project acme and another project."""

    evaluator: Evaluator
    suites: SuiteServiceStub
    evaluations: EvaluationServiceStub
    globex: SuiteServiceStub
    unauthenticated: EvaluationServiceStub

    async def with_suite(self, count: int = 3) -> suite_pb2.Suite:
        request = suite_service_pb2.CreateSuiteRequest(suite=suite(count))
        return (await self.suites.CreateSuite(request)).suite

    async def with_gate(self, **fields: object) -> pb.Gate:
        return (await self.evaluations.CreateGate(rpc.CreateGateRequest(gate=gate(**fields)))).gate


def suite(count: int = 3) -> suite_pb2.Suite:
    message = suite_pb2.Suite(id="truth", labels={"team": "support"})
    for case in cases(count):
        message.cases.add(id=case.id, question=case.question, reference=case.reference)
    return message


def gate(**fields: object) -> pb.Gate:
    require = [
        pb.Requirement(suite="truth", metric="rouge_l", gain_above=-0.02),
        pb.Requirement(suite="truth", metric="citation_valid", gain_above=-1.5, at_least=3),
    ]
    known = {"id": "gate", "deployment": "helpdesk", "candidate": "lora", "require": require}
    return pb.Gate(**(known | fields))  # type: ignore[arg-type] # fields of a gate


@cache
def settings() -> EvaluatorSettings:
    return EvaluatorSettings.model_validate(
        {
            "grpc_port": 0,
            "access_issuers": (installation().setting,),
            "kafka_bootstrap_servers": "127.0.0.1:1",
            "mongo_uri": "mongodb://127.0.0.1:1",
            "s3_endpoint": "127.0.0.1:1",
            "s3_access_key": "key",
            "s3_secret_key": "secret",
            "inference_address": "127.0.0.1:1",
            "ingest_address": "127.0.0.1:1",
            "rag_address": "127.0.0.1:1",
            "trainer_address": "127.0.0.1:1",
        }
    )


@pytest.fixture
async def api() -> AsyncIterator[ApiClient]:
    evaluator = Evaluator()
    servicer = GrpcEvaluationService(
        gates=evaluator.gate_crud,
        evaluations=evaluator.evaluation_crud,
        start=evaluator.start,
        list_case_results=evaluator.list_case_results,
        estimate_power=evaluator.estimate_power,
    )
    suites = GrpcSuiteService(suites=evaluator.suite_crud)
    server = DirectServer(
        settings(),
        [
            (add_SuiteServiceServicer_to_server, suites),
            (add_EvaluationServiceServicer_to_server, servicer),
        ],
        access=access_of(),
        audit=RecordedCalls(),
    )
    await server.start()
    address = f"127.0.0.1:{server.port}"
    async with (
        admin_channel(address, project="acme") as acme,
        admin_channel(address, project="globex") as globex,
        admin_channel(address, project="No project") as unauthenticated,
    ):
        yield ApiClient(
            evaluator=evaluator,
            suites=SuiteServiceStub(acme),
            evaluations=EvaluationServiceStub(acme),
            globex=SuiteServiceStub(globex),
            unauthenticated=EvaluationServiceStub(unauthenticated),
        )
    await server.stop(1.0)


async def test_a_suite_is_created_read_changed_and_deleted(api: ApiClient) -> None:
    created = await api.with_suite()
    read = (await api.suites.GetSuite(suite_service_pb2.GetSuiteRequest(id="truth"))).suite
    changed = await api.suites.UpdateSuite(
        suite_service_pb2.UpdateSuiteRequest(suite=suite(4), update_mask=FieldMask(paths=["cases"]))
    )
    listed = (await api.suites.ListSuites(suite_service_pb2.ListSuitesRequest())).suites
    deleted = await api.suites.DeleteSuite(suite_service_pb2.DeleteSuiteRequest(id="truth"))

    assert read == created
    assert (created.version, created.case_count, created.project, created.etag) == (1, 3, "acme", "1")
    assert (read.cases[0].id, read.cases[0].reference) == ("c1", "it is number 1")
    assert dict(read.labels) == {"team": "support"}
    assert (changed.suite.version, changed.suite.case_count) == (2, 4)
    assert [(each.version, len(each.cases)) for each in listed] == [(2, 0)]
    assert deleted.suite.version == 2
    with pytest.raises(NotFound):
        await api.suites.GetSuite(suite_service_pb2.GetSuiteRequest(id="truth"))


async def test_a_suite_takes_cases_that_are_shipped(api: ApiClient) -> None:
    (first, *_) = (await api.suites.ListShippedSuites(suite_service_pb2.ListShippedSuitesRequest(page_size=1))).suites
    shipped = suite_pb2.ShippedCases(suite=first.id, languages=["de"])

    request = suite_service_pb2.CreateSuiteRequest(suite=suite_pb2.Suite(id="fair", shipped=shipped))
    created = (await api.suites.CreateSuite(request)).suite
    read = (await api.suites.GetSuite(suite_service_pb2.GetSuiteRequest(id="fair"))).suite

    assert (first.id, first.case_count, list(first.languages)) == ("bias", 96, ["en", "de", "fr", "es"])
    assert (created.shipped, created.case_count, created.expecting_case_count) == (shipped, 24, 24)
    assert all(case.HasField("expect") and not case.reference for case in read.cases)


async def test_a_suite_is_refused_by_its_fields(api: ApiClient) -> None:
    await api.with_suite()
    broken = suite()
    broken.cases[1].question = ""
    broken.cases[2].id = "c1"

    with pytest.raises(InvalidInput) as refused:
        await api.suites.UpdateSuite(
            suite_service_pb2.UpdateSuiteRequest(suite=broken, update_mask=FieldMask(paths=["cases"]))
        )

    assert [each.field for each in refused.value.violations] == ["suite.cases[1].question", "suite.cases[2].id"]
    with pytest.raises(InvalidInput, match="suite: is missing"):
        await api.suites.CreateSuite(suite_service_pb2.CreateSuiteRequest())
    with pytest.raises(InvalidInput, match="update_mask"):
        await api.suites.UpdateSuite(
            suite_service_pb2.UpdateSuiteRequest(suite=suite(), update_mask=FieldMask(paths=["digest"]))
        )
    with pytest.raises(AlreadyExists):
        await api.with_suite()


async def test_projects_see_nothing_of_each_other_and_calls_without_one_are_refused(api: ApiClient) -> None:
    await api.with_suite()

    with pytest.raises(NotFound):
        await api.globex.GetSuite(suite_service_pb2.GetSuiteRequest(id="truth"))
    with pytest.raises(Unauthenticated):
        await api.unauthenticated.ListGates(rpc.ListGatesRequest())


async def test_a_gate_is_created_read_changed_and_deleted(api: ApiClient) -> None:
    created = await api.with_gate(labels={"team": "support"})
    read = (await api.evaluations.GetGate(rpc.GetGateRequest(id="gate"))).gate
    changed = await api.evaluations.UpdateGate(
        rpc.UpdateGateRequest(gate=gate(paused=True, etag="1"), update_mask=FieldMask(paths=["paused"]))
    )
    listed = (await api.evaluations.ListGates(rpc.ListGatesRequest())).gates

    assert read == created
    assert (created.confidence, created.paused) == (0.95, False)
    assert list(created.require) == list(gate().require)
    assert changed.gate.paused
    assert dict(changed.gate.labels) == {"team": "support"}
    assert [each.id for each in listed] == ["gate"]
    with pytest.raises(Conflict):
        await api.evaluations.DeleteGate(rpc.DeleteGateRequest(id="gate", etag="1"))
    await api.evaluations.DeleteGate(rpc.DeleteGateRequest(id="gate", etag="2"))
    with pytest.raises(NotFound):
        await api.evaluations.GetGate(rpc.GetGateRequest(id="gate"))


async def test_a_gate_is_refused_by_its_fields(api: ApiClient) -> None:
    with pytest.raises(InvalidInput) as refused:
        await api.with_gate(confidence=0.2, require=[pb.Requirement(metric="blue")])

    assert [each.field for each in refused.value.violations] == [
        "gate.confidence",
        "gate.require[0].cases",
        "gate.require[0].metric",
    ]


async def test_an_evaluation_is_started_done_and_reported_with_its_worst_cases(api: ApiClient) -> None:
    await api.with_suite()
    await api.with_gate()
    api.evaluator.candidate_is_right(2)
    request = rpc.StartEvaluationRequest(gate="gate", candidate=TUNED, request_id="r1")
    started = (await api.evaluations.StartEvaluation(request)).evaluation
    again = (await api.evaluations.StartEvaluation(request)).evaluation

    await api.evaluator.run(name_of(await api.evaluator.evaluations.get("acme", started.id)))
    done = (await api.evaluations.GetEvaluation(rpc.GetEvaluationRequest(id=started.id))).evaluation
    listed = await api.evaluations.ListEvaluations(rpc.ListEvaluationsRequest(gate="gate", candidate=TUNED))
    newest = await api.evaluations.ListEvaluations(
        rpc.ListEvaluationsRequest(filter=f'gate = "gate" AND candidate = {TUNED}', order_by="create_time desc")
    )
    assert [each.id for each in newest.evaluations] == [each.id for each in reversed(listed.evaluations)]
    none = await api.evaluations.ListEvaluations(rpc.ListEvaluationsRequest(gate="other"))
    worst = await api.evaluations.ListCaseResults(
        rpc.ListCaseResultsRequest(evaluation=started.id, page_size=1, case_set="suite:truth@1")
    )

    assert (started.state, again) == (pb.EVALUATION_STATE_QUEUED, started)
    assert (done.state, done.verdict) == (pb.EVALUATION_STATE_COMPLETED, pb.VERDICT_PASSED)
    assert (done.answered, done.cases, done.gate, done.candidate) == (3, 3, "gate", TUNED)
    assert [(each.metric, each.required, each.holds) for each in done.comparisons[:2]] == [
        ("rouge_l", True, True),
        ("citation_valid", True, True),
    ]
    assert list(listed.evaluations) == [done]
    assert list(none.evaluations) == []
    (result,) = worst.results
    assert (result.case, result.question, result.candidate.text) == ("c3", "what is 3?", "i do not know")
    assert set(result.candidate.scores) == {"rouge_l", "token_f1", "citation_valid", "output_chars"}
    assert worst.next_page_token
    best = await api.evaluations.ListCaseResults(
        rpc.ListCaseResultsRequest(
            evaluation=started.id, filter='case_set = "suite:truth@1"', order_by="difference desc"
        )
    )
    assert [each.case for each in best.results] == ["c2", "c1", "c3"]
    with pytest.raises(InvalidInput, match=r'send "difference" \(worst first'):
        await api.evaluations.ListCaseResults(rpc.ListCaseResultsRequest(evaluation=started.id, order_by="create_time"))
    with pytest.raises(PreconditionFailed):
        await api.evaluations.CancelEvaluation(rpc.CancelEvaluationRequest(id=started.id))


async def test_validating_an_evaluation_starts_none_and_a_queued_one_is_cancelled(api: ApiClient) -> None:
    await api.with_suite()
    request = rpc.StartEvaluationRequest(deployment="helpdesk", suites=["truth"], candidate=TUNED, validate_only=True)
    await api.evaluations.StartEvaluation(request)
    assert await api.evaluator.all() == []

    request.validate_only = False
    started = (await api.evaluations.StartEvaluation(request)).evaluation
    cancelled = await api.evaluations.CancelEvaluation(rpc.CancelEvaluationRequest(id=started.id))

    assert (cancelled.evaluation.state, cancelled.evaluation.reason) == (pb.EVALUATION_STATE_CANCELLED, "CANCELLED")


async def test_a_negative_page_is_refused(api: ApiClient) -> None:
    with pytest.raises(InvalidInput, match="page_size"):
        await api.evaluations.ListEvaluations(rpc.ListEvaluationsRequest(page_size=-1))
    with pytest.raises(InvalidInput, match="page_size"):
        await api.evaluations.ListGates(rpc.ListGatesRequest(page_size=1001))


async def test_the_power_of_a_gate_is_read_and_a_wrong_gain_refused(api: ApiClient) -> None:
    await api.with_suite()
    await api.with_gate()

    found = await api.evaluations.GetGatePower(rpc.GetGatePowerRequest(id="gate"))

    assert found.power == 0.8
    assert [(each.metric, each.questions, each.power) for each in found.requirements] == [
        ("rouge_l", 3, 0.03),
        ("citation_valid", 3, 0.03),
    ]
    with pytest.raises(InvalidInput, match="gain: is 2"):
        await api.evaluations.GetGatePower(rpc.GetGatePowerRequest(id="gate", gain=2))
    with pytest.raises(NotFound):
        await api.evaluations.GetGatePower(rpc.GetGatePowerRequest(id="other"))
