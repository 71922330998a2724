"""Held-out examples of another project's dataset are asked, and shown, as long as it is shared."""

import pytest
from google.protobuf.json_format import MessageToJson

from services.evaluator.tests import builders
from services.evaluator.tests.builders import BUCKET, DATASETS, example
from services.evaluator.tests.fakes import InMemoryOrigins
from services.evaluator.tests.harness import exchange_cases, registry
from tidemill_core.errors import InvalidInput, PermissionDenied
from tidemill_evaluator.gates.domain.gate import Gate, Requirement
from tidemill_evaluator.suites.domain.cases import CaseSet
from tidemill_evaluator.suites.domain.limits import Limits
from tidemill_evaluator.suites.domain.names import name_of, number_of, version_violation
from tidemill_evaluator.suites.exchange import CasesNotShared, ExchangeCases
from tidemill_kit.access.grants import Grants, Shared
from tidemill_kit.access.revocations import Revocations
from tidemill_kit.store.objects import ExchangeBucket
from tidemill_testkit.access import grant
from tidemill_testkit.objects import InMemoryObjects

NAME = "globex/sft"


async def test_cases_of_a_shared_dataset_are_read_until_it_is_shared_no_more() -> None:
    objects, grants = InMemoryObjects(BUCKET, DATASETS), Grants(Revocations())
    cases = ExchangeCases(
        ExchangeBucket(objects, BUCKET),
        of_datasets={DATASETS: ExchangeBucket(objects, DATASETS)},
        origins=InMemoryOrigins(),
        shared=lambda project, name: grants.resolve(project, Shared.DATASET, name),
    )
    (one,) = builders.cases(1)
    line = MessageToJson(example(one), indent=None, preserving_proto_field_name=True).encode()
    content = await ExchangeBucket(objects, DATASETS).put("globex", "sft", line, media_type="application/jsonl")
    case_set = CaseSet(dataset=NAME, number=1, size=1, content=content)
    with pytest.raises(CasesNotShared):
        await cases.read("acme", case_set)

    grants.apply(grant(NAME, Shared.DATASET, to="acme"))
    (read,) = await cases.read("acme", case_set)
    assert (read.end_user, read.owner) == ("ada", "globex")
    mine = CaseSet(dataset="sft", number=1, size=1, content=content)
    assert [(each.end_user, each.owner) for each in await cases.read("globex", mine)] == [("ada", "")]
    with pytest.raises(PermissionDenied, match="outside its project"):
        await cases.read("acme", CaseSet(dataset="sft", number=1, size=1, content=content))

    grants.apply(grant(NAME, Shared.DATASET, to="acme", seq=2, revoked=True))
    with pytest.raises(CasesNotShared):
        await cases.read("acme", case_set)


async def test_a_held_out_case_is_of_who_asked_it_and_of_who_corrected_it() -> None:
    objects = InMemoryObjects(BUCKET, DATASETS)
    cases = exchange_cases(objects)
    (one,) = builders.cases(1)
    message = example(one)
    message.asked_by = "bob"
    line = MessageToJson(message, indent=None, preserving_proto_field_name=True).encode()
    content = await ExchangeBucket(objects, DATASETS).put("acme", "sft", line, media_type="application/jsonl")

    (read,) = await cases.read("acme", CaseSet(dataset="sft", number=1, size=1, content=content))

    assert (read.end_user, read.corrected_by) == ("bob", "ada")
    assert [read.is_of(user) for user in ("bob", "ada", "eve")] == [True, True, False]


@pytest.mark.parametrize(("version", "name", "number"), [("base@2", "base", 2), ("globex/base@12", "globex/base", 12)])
def test_a_candidate_may_be_of_another_project(version: str, name: str, number: int) -> None:
    assert version_violation(version, "candidate") == []
    assert (name_of(version), number_of(version)) == (name, number)


@pytest.mark.parametrize("version", ["a/b/c@1", "/base@1", "globex/@1", "globex/base", "globex/base@0", "x@1/base@1"])
def test_what_is_no_version_is_refused(version: str) -> None:
    assert version_violation(version, "candidate")


@pytest.mark.parametrize(("dataset", "fits"), [("sft", True), (NAME, True), ("a/b/c", False), ("globex/", False)])
def test_a_requirement_may_name_a_dataset_of_another_project(dataset: str, *, fits: bool) -> None:
    gate = Gate(
        id="g", project="acme", deployment="d", candidate="c", require=(Requirement(dataset=dataset, metric="rouge_l"),)
    )
    if fits:
        gate.check(Limits(), registry())
        return
    with pytest.raises(InvalidInput, match="dataset"):
        gate.check(Limits(), registry())
