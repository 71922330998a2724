"""Erasures of projects, end users and documents, and the retention of case results, on the real store."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from google.protobuf.json_format import MessageToJson

from services.evaluator.tests.builders import ADA as ADA_CALLS
from services.evaluator.tests.builders import BUCKET, DATASETS, cases, example, passage, request
from services.evaluator.tests.evaluations.test_events import comparison, running
from services.evaluator.tests.fakes import InMemoryOrigins
from services.evaluator.tests.harness import Evaluator
from tidemill_core.aggregate import ObjectRef
from tidemill_core.resources import owner_of
from tidemill_evaluator.errors import EvaluationNotFound
from tidemill_evaluator.evaluations.domain.evaluation import Comparing, Evaluation
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.evaluations.domain.pace import Pace
from tidemill_evaluator.evaluations.domain.results import CaseAnswer
from tidemill_evaluator.evaluations.erasure import (
    CancelEvaluations,
    EndEvaluationsOfShared,
    EndEvaluationsOfUser,
    results_of_shared,
    results_of_user,
    results_with_document,
    results_with_passages,
)
from tidemill_evaluator.evaluations.mongo import EVALUATIONS, unfinished_evaluations
from tidemill_evaluator.evaluations.mongo_case_results import MongoCaseResults
from tidemill_evaluator.evaluations.paired_answers import Asking
from tidemill_evaluator.evaluations.ports import CaseName, PartialResult
from tidemill_evaluator.evaluations.retention import ForgetResults
from tidemill_evaluator.evaluations.turns import Turns
from tidemill_evaluator.gates.domain.gate import Requirement
from tidemill_evaluator.suites.domain.cases import CaseSet
from tidemill_evaluator.suites.exchange import ExchangeCases
from tidemill_kit.erasure.documents import documents, documents_of_jobs
from tidemill_kit.erasure.steps import NotYet, Scope, Target
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database, connect
from tidemill_kit.store.objects import ExchangeBucket
from tidemill_kit.workers.leases import Leases
from tidemill_local import Addresses
from tidemill_testkit.clocks import NOON, FixedClock
from tidemill_testkit.objects import InMemoryObjects
from tidemill_testkit.stack import unique_name

pytestmark = pytest.mark.server

PROJECT = Target(project="acme", scope=Scope.PROJECT)
ADA = Target(project="acme", scope=Scope.END_USER, subject="ada")
BOB = Target(project="acme", scope=Scope.END_USER, subject="bob")
DOCUMENT = Target(project="acme", scope=Scope.DOCUMENT, subject="doc")
SUITE, HELD_OUT = "suite:truth@1", "dataset:sft@2:held_out"
LEASES = "evaluation_leases"


class Stores:
    """The collections of evaluations."""

    def __init__(self, database: Database) -> None:
        self.database, self.clock = database, FixedClock()
        self.evaluations = MongoAggregates(
            database["evaluations"],
            codec=EVALUATIONS,
            topic="topic",
            source="/tidemill/evaluator",
            missing=EvaluationNotFound,
            lists=[("state",)],
        )
        self.results = MongoCaseResults(database["case_results"])
        self.leases = Leases(database[LEASES], owner="test", ttl=timedelta(seconds=30), clock=self.clock)

    async def add(self, origin: str, *, project: str = "acme", cases: CaseSet | None = None) -> Evaluation:
        """Add an evaluation, which is running where it has cases."""
        comparing = Comparing(deployment="helpdesk", candidate="lora@1", gate="gate")
        evaluation = Evaluation.queued(project, comparing, origin=origin)
        if cases:
            evaluation.begin(
                baseline="smollm2@1",
                baseline_configuration="d1",
                dataset_version="sft@2",
                case_sets=[cases],
                now=NOON,
                epoch=0,
            )
        return await self.evaluations.add(evaluation, request=request())

    async def keep(
        self, case: str, *, of: str = "e1", case_set: str = HELD_OUT, fields: Mapping[str, object] | None = None
    ) -> None:
        answer = CaseAnswer(inference="i1", text=f"canary {case}")
        kept = PartialResult(baseline=answer, **(fields or {}))  # type: ignore[arg-type] # as each test says
        await self.results.keep("acme", of, CaseName(case_set, case), kept, epoch=1)

    async def cases(self, project: str = "acme") -> list[str]:
        found = await self.database["case_results"].find({"project": project}).to_list(None)
        return sorted(document["case"] for document in found)

    async def states(self, project: str = "acme") -> dict[str, str]:
        found = await self.database["evaluations"].find({"project": project}).to_list(None)
        return {document["state"]["origin"]: document["state"]["state"] for document in found}


@pytest.fixture
async def stores(stack: Addresses) -> AsyncIterator[Stores]:
    client = connect(stack.mongo, timeout_s=10)
    name = unique_name("evaluator")
    stores = Stores(client[name])
    await stores.results.ensure_indexes()
    await stores.evaluations.ensure_indexes()
    await unfinished_evaluations(client[name]["evaluations"]).ensure_indexes()
    yield stores
    await client.drop_database(name)
    client.close()


async def test_evaluations_of_a_project_are_cancelled_and_removed_once_no_worker_has_one(stores: Stores) -> None:
    running = await stores.add("a")
    await stores.add("b")
    await stores.add("a", project="acme-2")
    lease = await stores.leases.acquire(f"acme/{running.id}")
    assert lease is not None
    step = documents_of_jobs(
        "evaluations",
        stores.database["evaluations"],
        end=CancelEvaluations(evaluations=stores.evaluations, clock=stores.clock),
        leases=stores.leases,
    )

    with pytest.raises(NotYet):
        await step.erase(PROJECT)
    assert await stores.states() == {"a": "cancelled", "b": "cancelled"}
    await stores.leases.release(lease)

    assert [await step.erase(PROJECT), await step.erase(PROJECT)] == [2, 0]
    assert await stores.states("acme-2") == {"a": "queued"}


async def test_an_evaluation_that_asks_what_an_erased_user_asked_ends_and_others_go_on(stores: Stores) -> None:
    evaluator = Evaluator()
    asked_by_ada = await evaluator.with_held_out()
    await evaluator.with_suite()
    suite = (await evaluator.suites.get("acme", "truth")).case_set
    gone = CaseSet(
        dataset="sft",
        number=1,
        size=3,
        content=ObjectRef(bucket="datasets", key="acme/sft/gone", size=1, sha256="0" * 64),
    )
    live = [replace(case, proposal="p1", end_user="ada") for case in cases(1)]
    content = await evaluator.cases.put("acme", "live", live)
    of_suite = CaseSet(suite="live", number=1, size=1, content=content)
    sets = (("ada", asked_by_ada), ("live", of_suite), ("suite", suite), ("gone", gone), ("queued", None))
    for origin, case_set in sets:
        await stores.add(origin, cases=case_set)
    end = EndEvaluationsOfUser(
        evaluations=stores.evaluations,
        collection=stores.database["evaluations"],
        cases=evaluator.cases,
        clock=stores.clock,
    )

    assert [await end(BOB), await end(BOB)] == [1, 0], "its cases are gone, whose they were is not known"
    assert [await end(ADA), await end(ADA)] == [2, 0]
    states = {"ada": "failed", "live": "failed", "suite": "running", "gone": "failed", "queued": "queued"}
    assert await stores.states() == states
    document = await stores.database["evaluations"].find_one({"state.origin": "ada"})
    assert document is not None
    failed = await stores.evaluations.get("acme", document["id"])
    assert (failed.state, failed.reason) == (State.FAILED, "DATA_ERASED")


async def test_evaluations_of_other_projects_on_a_shared_dataset_end_with_its_users_and_its_project(
    stores: Stores,
) -> None:
    objects = InMemoryObjects(BUCKET, DATASETS)
    shared = ExchangeCases(
        ExchangeBucket(objects, BUCKET),
        of_datasets={DATASETS: ExchangeBucket(objects, DATASETS)},
        origins=InMemoryOrigins(),
        shared=lambda project, name: (owner_of(name, project), name),
    )
    line = MessageToJson(example(cases(1)[0]), indent=None, preserving_proto_field_name=True).encode()
    for origin, owner in (("theirs", "globex"), ("others", "globe")):
        content = await ExchangeBucket(objects, DATASETS).put(owner, "sft", line, media_type="application/jsonl")
        case_set = CaseSet(dataset=f"{owner}/sft", number=1, size=1, content=content)
        await stores.add(origin, cases=case_set)
        await stores.add(f"{origin} again", cases=case_set)
    collection = stores.database["evaluations"]
    of_user = EndEvaluationsOfUser(
        evaluations=stores.evaluations, collection=collection, cases=shared, clock=stores.clock
    )
    of_project = EndEvaluationsOfShared(evaluations=stores.evaluations, collection=collection, clock=stores.clock)
    running = dict.fromkeys(["theirs", "theirs again", "others", "others again"], "running")

    assert await of_user(replace(ADA, project="acme")) == 0, "the project's own user of the same name asked nothing"
    assert await of_user(replace(BOB, project="globex")) == 0
    assert await stores.states() == running
    assert [await of_user(replace(ADA, project="globex")) for _ in range(2)] == [2, 0]
    assert await stores.states() == running | {"theirs": "failed", "theirs again": "failed"}
    assert [await of_project(replace(PROJECT, project="globe")) for _ in range(2)] == [2, 0]
    assert await stores.states() == dict.fromkeys(running, "failed")


async def test_results_of_an_end_user_are_removed_also_those_of_which_it_is_not_known(stores: Stores) -> None:
    whole: dict[str, object] = {"candidate": CaseAnswer(inference="i2", text="canary")}
    await stores.keep("of-ada", fields={"end_user": "ada", **whole})
    await stores.keep("of-bob", fields={"end_user": "bob", **whole})
    await stores.keep("corrected-by-ada", fields={"end_user": "bob", "corrected_by": "ada", **whole})
    await stores.keep("of-suite", case_set=SUITE, fields=whole)
    await stores.keep("early", fields=whole)
    await stores.keep("early-suite", case_set=SUITE, fields=whole)
    await stores.database["case_results"].update_many(
        {"case": {"$in": ["early", "early-suite"]}}, {"$unset": {"end_user": "", "of_project": ""}}
    )
    step = documents("case results", stores.database["case_results"], where=results_of_user)

    assert [await step.erase(ADA), await step.erase(ADA)] == [4, 0]
    assert await stores.cases() == ["of-bob", "of-suite"]


async def test_results_of_a_shared_dataset_go_with_the_users_and_the_project_that_shared_it(stores: Stores) -> None:
    for case, fields in {
        "of-our-ada": {"end_user": "ada"},
        "of-their-ada": {"end_user": "ada", "owner": "globex"},
        "of-their-bob": {"end_user": "bob", "owner": "globex"},
    }.items():
        await stores.keep(case, fields=fields)
    results = stores.database["case_results"]
    theirs = Target(project="globex", scope=Scope.END_USER, subject="ada")
    project = Target(project="globex", scope=Scope.PROJECT)

    assert await documents("case results", results, where=results_of_user).erase(theirs) == 1
    assert await stores.cases() == ["of-our-ada", "of-their-bob"]
    assert await documents("case results", results, where=results_of_shared).erase(project) == 1
    assert await stores.cases() == ["of-our-ada"]


async def test_results_with_passages_of_a_document_are_removed(stores: Stores) -> None:
    await stores.keep("partial", fields={"passages": (passage(),)})
    await stores.keep("other")
    step = documents("case results", stores.database["case_results"], where=results_with_document)

    assert [await step.erase(DOCUMENT), await step.erase(DOCUMENT)] == [1, 0]
    assert await stores.cases() == ["other"]


async def test_passages_of_a_shared_collection_are_removed_from_the_results_of_other_projects(stores: Stores) -> None:
    results = stores.database["case_results"]
    for case, collection in (("theirs", "globex/handbook"), ("own", "handbook")):
        await stores.keep(case, fields={"passages": (replace(passage(), collection=collection),)})
    of_globex = Target(project="globex", scope=Scope.PROJECT)

    assert await documents("case results", results, where=results_with_passages).erase(of_globex) == 1
    assert await stores.cases() == ["own"]


async def test_results_past_the_retention_of_their_project_go_and_the_verdict_stays(stores: Stores) -> None:
    spared = {"acme"}
    forget = ForgetResults(
        evaluations=stores.evaluations,
        results=stores.database["case_results"],
        ages=lambda: {"acme": timedelta(days=30)},
        spares=spared.__contains__,
        clock=stores.clock,
    )
    old, young, unfinished = [await stores.add(origin) for origin in ("old", "young", "unfinished")]
    evidence = [comparison("suite:truth@1", low=0.39, gain_above=0.0, at_least=0)]
    for each, age in ((old, timedelta(days=31)), (young, timedelta(days=29))):
        moment = stores.clock.now() - age
        await stores.evaluations.update(
            "acme",
            each.id,
            lambda e, moment=moment: e.complete(evidence, now=moment, epoch=0),  # type: ignore[misc] # bound now
            request=request(),
        )
    for each in (old, young, unfinished):
        await stores.keep(each.origin, of=each.id)

    assert await forget() == 0, "a held project keeps all"
    spared.clear()
    assert [await forget(), await forget()] == [1, 0]
    assert await stores.cases() == ["unfinished", "young"]
    assert (await stores.evaluations.get("acme", old.id)).verdict is not None


async def test_a_case_of_another_projects_user_is_asked_without_naming_them() -> None:
    evaluator = Evaluator()
    (case, *_) = await evaluator.cases.read("acme", await evaluator.with_held_out())
    asking = Asking(
        caller=ADA_CALLS,
        evaluation=running(),
        deadline_s=60.0,
        turns=Turns(Pace(maximum=1, share=0.5), deadline_s=60.0),
    )

    questions = [
        asking.question(CaseName(HELD_OUT, case.id), each, side="baseline", variant="")
        for each in (case, replace(case, owner="globex"))
    ]

    assert [each.end_user for each in questions] == ["ada", ""]


async def test_a_case_is_asked_as_its_user_and_the_result_says_whose_it_is() -> None:
    evaluator = Evaluator()
    case_set = await evaluator.with_held_out()
    read = await evaluator.cases.read("acme", case_set)
    assert {each.end_user for each in read} == {"ada"}
    await evaluator.with_suite()
    await evaluator.with_gate(
        Requirement(dataset="sft", metric="rouge_l"), Requirement(suite="truth", metric="rouge_l")
    )
    await evaluator.register()
    await evaluator.finish()

    assert {each.text.startswith("held out"): each.end_user for each in evaluator.inference.asked} == {
        True: "ada",
        False: "",
    }
    assert {name.case_set: kept.end_user for (_, _, name), (kept, _) in evaluator.results.stored.items()} == {
        HELD_OUT: "ada",
        SUITE: "",
    }
