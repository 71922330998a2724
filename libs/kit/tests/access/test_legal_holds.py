"""Every RPC that erases, by reflection: it is refused while a legal hold covers what it erases."""

import json
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from libs.kit.tests.access.rpcs import METHODS, OK, EdgeRpcs, bearing
from tidemill.options.v1 import options_pb2
from tidemill_kit.access.access import Access
from tidemill_kit.access.revocations import Revocations
from tidemill_testkit.access import TestIssuer, access_of

ERASING = re.compile(r"/(Delete|Erase|Forget|Purge|Remove|Clear)")
REFUSED = (grpc.StatusCode.FAILED_PRECONDITION, "LEGAL_HOLD")
KEEPS = {
    "tidemill.evaluator.v1.EvaluationService/DeleteGate": "the gate's evaluations stay",
    "tidemill.evaluator.v1.JudgeService/DeleteJudge": "the scores that it gave stay",
    "tidemill.evaluator.v1.SuiteProposalService/DeleteSuiteProposal": "answers, reactions and accepted cases stay",
    "tidemill.evaluator.v1.SuiteService/DeleteSuite": "the suite's versions stay",
    "tidemill.feedback.v1.CurationService/DeleteCuration": "its examples stay",
    "tidemill.feedback.v1.FeedbackMetricService/DeleteFeedbackMetric": "its feedback stays",
    "tidemill.inference.v1.BudgetService/DeleteBudget": "the audit chain has it, and what it refused",
    "tidemill.inference.v1.DeploymentService/DeleteDeployment": "its inferences stay",
    "tidemill.inference.v1.ExperimentService/DeleteExperiment": "its inferences stay, and its results are numbers",
    "tidemill.inference.v1.PriceService/DeletePrice": "what was priced by it stays so",
    "tidemill.inference.v1.SecretService/DeleteSecret": "a credential for other systems is no evidence",
    "tidemill.ingest.v1.SourceService/DeleteSource": "its documents stay",
    "tidemill.monitor.v1.AccessService/DeleteApiKey": "the audit chain has it",
    "tidemill.monitor.v1.AccessService/DeleteMember": "the audit chain has it",
    "tidemill.monitor.v1.AccessService/DeleteProject": "monitor itself asks for the holds of the project that is named",
    "tidemill.monitor.v1.AccessService/DeleteRole": "the audit chain has it",
    "tidemill.monitor.v1.AccessService/DeleteServiceAccount": "the audit chain has it",
    "tidemill.rag.v1.CollectionService/DeleteCollection": "it is derived, and the documents stay",
    "tidemill.rag.v1.SimilarTextService/RemoveSimilarTexts": "it is derived, and the answers stay",
    "tidemill.trainer.v1.DerivationService/DeleteDerivation": "the version that it made stays",
    "tidemill.trainer.v1.SweepService/DeleteSweep": "its runs and its model version stay",
    "tidemill.trainer.v1.TrainingService/DeleteTrainingPlan": "its runs and models stay",
    "tidemill.trainer.v1.TrainingService/DeleteTrainingRun": "another tool recorded it; what was trained here stays",
}
"""RPCs that erase nothing that evidence needs, and why."""
ERASES = {name for name, method in METHODS.items() if method.GetOptions().Extensions[options_pb2.erases]}


@pytest.fixture
def issuer(tmp_path: Path) -> TestIssuer:
    return TestIssuer(tmp_path)


@pytest.fixture
def access(issuer: TestIssuer) -> Access:
    return access_of(issuer)


@pytest.fixture
def call(access: Access) -> EdgeRpcs:
    return EdgeRpcs(access)


def hold(access: Access, **changes: object) -> None:
    assert access.holds.apply(json.dumps({"id": "case-1", "project": "acme", "seq": "1", **changes}).encode())


def request_of(method: str, **fields: str) -> bytes:
    kind: Any = GetMessageClass(METHODS[method].input_type)
    raw: bytes = kind(**fields).SerializeToString()
    return raw


def test_every_rpc_whose_name_says_that_it_erases_declares_it_or_is_listed_with_a_reason() -> None:
    named = {name for name in METHODS if ERASING.search(name)}

    assert named - ERASES == KEEPS.keys()
    assert all(KEEPS.values())


def test_what_erases_the_data_of_an_end_user_says_where_its_request_names_the_end_user() -> None:
    fields = {name: {field.name for field in METHODS[name].input_type.fields} for name in ERASES}
    declared = {
        (name, field.name)
        for name in ERASES
        for field in METHODS[name].input_type.fields
        if field.GetOptions().Extensions[options_pb2.erased]
    }

    assert {(name, "end_user") for name in ERASES if "end_user" in fields[name]} <= declared
    assert ("tidemill.ingest.v1.DocumentService/DeleteDocument", "id") in declared


async def test_while_the_project_is_held_exactly_these_are_refused(
    issuer: TestIssuer, access: Access, call: EdgeRpcs
) -> None:
    hold(access)
    admin = bearing(issuer.token("acme", "installation_admin"))

    assert {name for name in METHODS if await call(name, admin) == REFUSED} == ERASES
    hold(access, seq="2", released=True)
    assert {await call(name, admin) for name in ERASES} == {OK}


async def test_a_hold_of_another_project_refuses_nothing(issuer: TestIssuer, access: Access, call: EdgeRpcs) -> None:
    hold(access, project="globex")

    assert {await call(name, bearing(issuer.token("acme", "admin"))) for name in ERASES} == {OK}


@pytest.mark.parametrize(
    "named",
    [
        ("tidemill.inference.v1.InferenceService/EraseEndUser", "end_user", "end_user"),
        ("tidemill.feedback.v1.FeedbackService/EraseEndUser", "end_user", "end_user"),
        ("tidemill.ingest.v1.DocumentService/DeleteDocument", "id", "document"),
    ],
)
async def test_a_hold_of_one_end_user_or_document_refuses_what_names_it_or_leaves_it_open(
    issuer: TestIssuer, access: Access, call: EdgeRpcs, named: tuple[str, str, str]
) -> None:
    method, field, of = named
    hold(access, **{of: "x-17"})
    admin = bearing(issuer.token("acme", "admin"))

    code, reason, text = await call.answered(method, admin, request_of(method, **{field: "x-17"}))
    assert (code, reason) == REFUSED
    assert "case-1" in text
    assert await call(method, admin) == REFUSED
    assert await call(method, admin, request_of(method, **{field: "x-18"})) == OK


async def test_a_hold_of_a_document_refuses_to_erase_who_was_answered_from_it(
    issuer: TestIssuer, access: Access, call: EdgeRpcs
) -> None:
    hold(access, document="d-1")
    admin, erase = bearing(issuer.token("acme", "admin")), "tidemill.inference.v1.InferenceService/EraseEndUser"

    assert await call(erase, admin, request_of(erase, end_user="u-1")) == REFUSED


async def test_a_hold_of_an_end_user_lets_documents_be_deleted(
    issuer: TestIssuer, access: Access, call: EdgeRpcs
) -> None:
    hold(access, end_user="u-1")
    admin, delete = bearing(issuer.token("acme", "admin")), "tidemill.ingest.v1.DocumentService/DeleteDocument"

    assert await call(delete, admin, request_of(delete, id="d-1")) == OK


async def test_what_erases_is_refused_while_the_holds_of_now_are_not_known(issuer: TestIssuer) -> None:
    age = [0.0]
    access = access_of(issuer, revocations=Revocations(monotonic=lambda: age[0], hold_s=3600))
    admin = bearing(issuer.token("acme", "installation_admin"))
    call, unavailable = EdgeRpcs(access), (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    age[0] = 31.0

    assert {name for name in METHODS if await call(name, admin) == unavailable} == ERASES


async def test_a_caller_without_the_role_does_not_learn_of_the_hold(
    issuer: TestIssuer, access: Access, call: EdgeRpcs
) -> None:
    hold(access)

    assert {(await call(name, bearing(issuer.token("acme", "viewer"))))[1] for name in ERASES} == {"ROLE_REQUIRED"}
