"""Contract suite of the stores: in memory and on real servers."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from google.protobuf.json_format import MessageToJson

from services.evaluator.tests.builders import cases, example, gate_of, passage, request
from services.evaluator.tests.evaluations.test_events import comparison, running
from services.evaluator.tests.fakes import InMemoryOrigins, InMemoryResults
from services.evaluator.tests.harness import Evaluator
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import PageRequest, ResourceKey
from tidemill_core.errors import PermissionDenied
from tidemill_evaluator.errors import CasesErased, EvaluationLost, EvaluationNotFound, GateNotFound, SuiteNotFound
from tidemill_evaluator.evaluations.domain.comparison import Verdict
from tidemill_evaluator.evaluations.domain.evaluation import Comparing, Evaluation
from tidemill_evaluator.evaluations.domain.results import CaseAnswer
from tidemill_evaluator.evaluations.mongo import (
    EVALUATION_LISTS,
    EVALUATIONS,
    deferring_gates,
    due_gates,
    unfinished_evaluations,
)
from tidemill_evaluator.evaluations.mongo_case_results import MongoCaseResults
from tidemill_evaluator.evaluations.ports import CaseName, CaseResults, PartialResult
from tidemill_evaluator.gates.domain.deferred_evaluation import DeferredEvaluation
from tidemill_evaluator.gates.domain.gate import Requirement
from tidemill_evaluator.gates.domain.reevaluation import Reevaluate
from tidemill_evaluator.gates.mongo import GATES
from tidemill_evaluator.suites.domain.cases import CaseSet
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_evaluator.suites.exchange import CasesUnreadable, ExchangeCases
from tidemill_evaluator.suites.mongo import SUITES
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.mongo import Database, connect
from tidemill_kit.store.objects import ExchangeBucket, ObjectDamaged, ObjectStore
from tidemill_local import Addresses
from tidemill_testkit.buckets import remove_bucket
from tidemill_testkit.clocks import NOON
from tidemill_testkit.stack import unique_name

NAME = CaseName("suite:truth@1", "c1")
BASELINE = PartialResult(baseline=CaseAnswer(inference="i1", text="seven"), passages=(passage(),))
WHOLE = PartialResult(
    baseline=CaseAnswer(inference="i1", text="seven", citation_valid=0.5, scores={"rouge_l": 0.25}),
    candidate=CaseAnswer(failure="INTERNAL", scores={"rouge_l": 0.0}),
)


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    client = connect(stack.mongo, timeout_s=10)
    name = unique_name("evaluator")
    yield client[name]
    await client.drop_database(name)
    client.close()


@pytest.fixture
def evaluations(database: Database) -> MongoAggregates[Evaluation]:
    return MongoAggregates(
        database["evaluations"],
        codec=EVALUATIONS,
        topic="topic",
        source="/tidemill/evaluator",
        missing=EvaluationNotFound,
        lists=EVALUATION_LISTS,
    )


@pytest.fixture(params=["in memory", "mongodb"])
def results(request: pytest.FixtureRequest) -> CaseResults:
    if request.param == "in memory":
        return InMemoryResults()
    database: Database = request.getfixturevalue("database")
    return MongoCaseResults(database["case_results"])


async def test_what_is_known_of_a_case_is_read_as_it_was_kept(results: CaseResults) -> None:
    await results.keep("acme", "e1", NAME, BASELINE, epoch=1)
    assert await results.read("acme", "e1", [NAME, CaseName("suite:truth@1", "c2")]) == {NAME: BASELINE}

    await results.keep("acme", "e1", NAME, WHOLE, epoch=1)
    assert await results.read("acme", "e1", [NAME]) == {NAME: WHOLE}
    assert WHOLE.result("suite:truth@1", "c1") is not None


async def test_scores_are_of_cases_that_both_sides_answered(results: CaseResults) -> None:
    half = CaseName("suite:truth@1", "c2")
    await results.keep("acme", "e1", half, BASELINE, epoch=1)
    await results.keep("acme", "e1", NAME, WHOLE, epoch=1)

    (found,) = await results.scores("acme", "e1", [NAME, half, CaseName("suite:truth@1", "c3")])

    assert WHOLE.candidate is not None
    assert (found.case_set, found.case) == ("suite:truth@1", "c1")
    assert dict(found.baseline.scores) == dict(WHOLE.baseline.scores)
    assert (found.candidate.failure, dict(found.candidate.scores)) == ("INTERNAL", dict(WHOLE.candidate.scores))


async def test_cases_of_projects_evaluations_and_sets_are_apart(results: CaseResults) -> None:
    await results.keep("acme", "e1", NAME, WHOLE, epoch=1)

    assert await results.read("globex", "e1", [NAME]) == {}
    assert await results.read("acme", "e2", [NAME]) == {}
    assert await results.read("acme", "e1", [CaseName("suite:truth@2", "c1")]) == {}


async def test_who_slept_through_a_lease_keeps_nothing_over_its_successor(results: CaseResults) -> None:
    await results.keep("acme", "e1", NAME, BASELINE, epoch=1)
    await results.keep("acme", "e1", NAME, WHOLE, epoch=2)

    with pytest.raises(EvaluationLost):
        await results.keep("acme", "e1", NAME, BASELINE, epoch=1)

    assert await results.read("acme", "e1", [NAME]) == {NAME: WHOLE}


async def test_many_cases_are_read_at_once(results: CaseResults) -> None:
    names = [CaseName("suite:truth@1", f"c{number}") for number in range(1200)]
    for name in names[::200]:
        await results.keep("acme", "e1", name, WHOLE, epoch=1)

    assert set(await results.read("acme", "e1", names)) == set(names[::200])


async def test_an_evaluation_is_read_as_it_was_saved(evaluations: MongoAggregates[Evaluation]) -> None:
    done = running()
    done.progress(7, remaining_s=12.5, epoch=1)
    saved = await evaluations.add(done, request=request())
    assert await evaluations.get("acme", done.id) == saved

    evidence = [comparison("suite:helpdesk_truth@1", low=0.39, gain_above=-0.02, at_least=0)]
    saved = await evaluations.update(
        "acme", done.id, lambda e: e.complete(evidence, now=NOON, epoch=1), request=request()
    )
    assert await evaluations.get("acme", done.id) == saved


async def test_an_evaluation_by_hand_is_read_as_it_was_saved(evaluations: MongoAggregates[Evaluation]) -> None:
    comparing = Comparing(deployment="helpdesk", candidate="lora@1", suites=("truth", "more"), baseline="smollm2@1")

    saved = await evaluations.add(Evaluation.queued("acme", comparing, origin="r1", asked_by="d"), request=request())

    assert await evaluations.get("acme", saved.id) == saved


async def test_evaluations_are_listed_by_gate_and_candidate(evaluations: MongoAggregates[Evaluation]) -> None:
    for gate, candidate in (("one", "lora@1"), ("one", "lora@2"), ("two", "lora@1")):
        comparing = Comparing(deployment="helpdesk", candidate=candidate, gate=gate)
        await evaluations.add(Evaluation.queued("acme", comparing, origin=f"{gate}/{candidate}"), request=request())

    page = await evaluations.list("acme", page=PageRequest(), where={"gate": "one", "candidate": "lora@1"})

    assert [(each.gate, each.candidate) for each in page.items] == [("one", "lora@1")]


async def test_evaluations_that_passed_are_listed_by_gate_and_candidate(
    evaluations: MongoAggregates[Evaluation],
) -> None:
    comparing = Comparing(deployment="helpdesk", candidate="lora@1", gate="one")
    for verdict in (Verdict.PASSED, Verdict.NOT_WORSE, None):
        each = Evaluation.queued("acme", comparing, origin=str(verdict))
        each.verdict = verdict
        await evaluations.add(each, request=request())
    where = {"gate": "one", "candidate": "lora@1", "verdict": Verdict.PASSED.value}

    page = await evaluations.list("acme", page=PageRequest(), where=where)

    assert [each.verdict for each in page.items] == [Verdict.PASSED]


async def test_the_evaluations_that_are_not_finished_are_pending(
    database: Database, evaluations: MongoAggregates[Evaluation]
) -> None:
    pending = unfinished_evaluations(database["evaluations"])
    await pending.ensure_indexes()
    started = running()
    await evaluations.add(started, request=request())
    waiting = await evaluations.add(
        Evaluation.queued("globex", Comparing(deployment="d", candidate="lora@1"), origin="a"), request=request()
    )
    cancelled = await evaluations.add(
        Evaluation.queued("globex", Comparing(deployment="d", candidate="lora@1"), origin="b"), request=request()
    )
    await evaluations.update("globex", cancelled.id, lambda e: e.cancel(NOON), request=request())

    assert set((await pending("", without=frozenset())).items) == {
        ResourceKey(project="acme", id=started.id),
        ResourceKey(project="globex", id=waiting.id),
    }
    assert [name.project for name in (await pending("", without=frozenset({"acme"}))).items] == ["globex"]


async def test_gates_that_are_not_paused_and_have_a_deferred_evaluation_are_pending(database: Database) -> None:
    gates = MongoAggregates(database["gates"], codec=GATES, topic="", source="/t", missing=GateNotFound)
    deferred_evaluation = DeferredEvaluation(candidate="lora@2", origin="gate/lora@2")
    for name, paused, deferred in (
        ("deferred", False, deferred_evaluation),
        ("paused", True, deferred_evaluation),
        ("even", False, None),
    ):
        gate = gate_of(name=name, paused=paused)
        gate.deferred_evaluation = deferred
        await gates.add(gate, request=request())
    gone = gate_of(name="gone", project="globex")
    gone.deferred_evaluation = deferred_evaluation
    await gates.add(gone, request=request())

    pending = deferring_gates(database["gates"])
    await pending.ensure_indexes()

    assert set((await pending("", without=frozenset())).items) == {
        ResourceKey(project="acme", id="deferred"),
        ResourceKey(project="globex", id="gone"),
    }
    await gates.update("globex", "gone", lambda each: setattr(each, "deleted", True), request=request())
    assert (await pending("", without=frozenset())).items == [ResourceKey(project="acme", id="deferred")]


async def test_gates_that_are_not_paused_and_whose_reevaluation_is_due_are_pending(database: Database) -> None:
    gates = MongoAggregates(database["gates"], codec=GATES, topic="", source="/t", missing=GateNotFound)
    for name, paused, hours in (("due", False, 1), ("paused", True, 1), ("later", False, 3), ("never", False, 0)):
        gate = gate_of(name=name, paused=paused)
        gate.reevaluate = Reevaluate(every=timedelta(hours=hours)) if hours else None
        gate.schedule(NOON)
        assert await gates.add(gate, request=request()) == await gates.get("acme", name)

    pending = due_gates(database["gates"], lambda: NOON + timedelta(hours=1))
    await pending.ensure_indexes()

    assert (await pending("", without=frozenset())).items == [ResourceKey(project="acme", id="due")]


async def test_suites_and_gates_are_read_as_they_were_saved(database: Database) -> None:
    content = ObjectRef(bucket="b", key="acme/truth/x", size=1, sha256="0" * 64)
    suite = Suite(id="truth", project="acme", number=2, digest="d", size=3, content=content, labels={"a": "b"})
    gate = gate_of(Requirement(dataset="sft", metric="rouge_l", at_least=40), paused=True)
    gate.defer(DeferredEvaluation(candidate="lora@2", origin="gate/lora@2", dataset_version="sft@3"))
    suites = MongoAggregates(database["suites"], codec=SUITES, topic="", source="/t", missing=SuiteNotFound)
    gates = MongoAggregates(database["gates"], codec=GATES, topic="", source="/t", missing=GateNotFound)

    assert await suites.add(suite, request=request()) == await suites.get("acme", "truth")
    assert await gates.add(gate, request=request()) == await gates.get("acme", "gate")


@pytest.fixture
async def store(stack: Addresses) -> AsyncIterator[tuple[ObjectStore, str]]:
    store = ObjectStore(stack.s3.endpoint, stack.s3.access_key, stack.s3.secret_key, secure=False)
    bucket = unique_name("evaluator")
    await store.ensure_bucket(bucket)
    yield store, bucket
    await remove_bucket(stack, bucket)


async def test_cases_go_through_the_real_bucket_and_are_verified(store: tuple[ObjectStore, str]) -> None:
    objects, bucket = store
    own = ExchangeBucket(objects, bucket)
    contents = ExchangeCases(own, of_datasets={bucket: own}, origins=InMemoryOrigins())
    content = await contents.put("acme", "truth", cases(3))
    truth = CaseSet(suite="truth", number=1, size=3, content=content)
    data = "\n".join(line_of(case_id) for case_id in ("a", "b")).encode()
    part = await own.put("acme", "sft", data, media_type="application/jsonl")
    held_out = CaseSet(dataset="sft", number=2, size=2, content=part)

    assert list(await contents.read("acme", truth)) == cases(3)
    assert [(each.id, each.reference) for each in await contents.read("acme", held_out)] == [
        ("a", "it is number 1"),
        ("b", "it is number 1"),
    ]

    await objects.put(bucket, content.key, b"other", media_type="application/jsonl")
    with pytest.raises(ObjectDamaged):
        await contents.read("acme", truth)
    await objects.delete(bucket, content.key)
    with pytest.raises(CasesErased):
        await contents.read("acme", truth)


@pytest.mark.parametrize(
    ("data", "size"),
    [(b"no json", 1), (b'{"id": 7, "question": []}', 1), (b"", 1), (b'{"id": "a"}', 2), (b'{"id": "a"}\n' * 2, 2)],
)
async def test_an_object_that_does_not_hold_its_cases_is_refused_without_its_text(data: bytes, size: int) -> None:
    evaluator = Evaluator()
    content = await ExchangeBucket(evaluator.objects, "datasets").put("acme", "sft", data, media_type="text/plain")

    with pytest.raises(CasesUnreadable) as refused:
        await evaluator.cases.read("acme", CaseSet(dataset="sft", number=1, size=size, content=content))

    assert "no json" not in refused.value.message


async def test_objects_of_other_projects_and_buckets_are_not_read() -> None:
    evaluator = Evaluator()
    part = await evaluator.with_held_out(bucket="elsewhere")
    with pytest.raises(PermissionDenied):
        await evaluator.cases.read("acme", part)

    part = await evaluator.with_held_out()
    with pytest.raises(PermissionDenied):
        await evaluator.cases.read("globex", part)


def line_of(case_id: str) -> str:
    of_case = example(cases(1)[0])
    of_case.id = case_id
    return MessageToJson(of_case, indent=None)
