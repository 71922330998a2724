"""gRPC, MongoDB and inference's API: what crosses the edges of prompt tests."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from services.evaluator.tests.builders import ADA, cases, identity, passage
from services.evaluator.tests.evaluations.test_grpc import settings
from services.evaluator.tests.prompt_tests.harness import LIVE, NEW, InMemoryPromptResults, PromptTester
from tidemill.content.v1 import content_pb2
from tidemill.evaluator.v1 import prompt_test_pb2 as pb
from tidemill.evaluator.v1 import prompt_test_service_pb2 as rpc
from tidemill.evaluator.v1.prompt_test_service_pb2_grpc import (
    PromptTestServiceStub,
    add_PromptTestServiceServicer_to_server,
)
from tidemill_core.application import Caller, PageRequest
from tidemill_core.errors import InvalidInput, PreconditionFailed
from tidemill_evaluator.errors import EvaluationLost
from tidemill_evaluator.evaluations.domain.asked_by import PromptText
from tidemill_evaluator.evaluations.retention import ForgetResults
from tidemill_evaluator.prompt_tests.domain.cells import CaseCells, Cell
from tidemill_evaluator.prompt_tests.domain.grid import PromptVariant
from tidemill_evaluator.prompt_tests.domain.prompt_test import PromptTest
from tidemill_evaluator.prompt_tests.grpc import GrpcPromptTestService
from tidemill_evaluator.prompt_tests.list_prompt_results import ListPromptResultsCommand
from tidemill_evaluator.prompt_tests.mongo import PROMPT_TESTS
from tidemill_evaluator.prompt_tests.mongo_results import MongoPromptResults, prompt_results_of_user
from tidemill_evaluator.prompt_tests.ports import PromptResults
from tidemill_evaluator.suites.domain.cases import Case, Context, DocumentVersion, Role, Turn
from tidemill_kit.erasure.documents import documents
from tidemill_kit.erasure.steps import Scope, Target
from tidemill_kit.store.mongo import Database, connect
from tidemill_local import Addresses
from tidemill_testkit.access import access_of, admin_channel
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer
from tidemill_testkit.stack import unique_name

VIEWER = Caller(project="acme", subject="user:vic", roles=frozenset({"viewer"}))
OPERATOR = Caller(project="acme", subject="user:op", roles=frozenset({"operator"}))
KEPT = CaseCells(
    case="c1",
    cells=(
        Cell(inference="i1", text="four", scores={"rouge_l": 0.5}, missing=("cost",), configuration="d1"),
        Cell(failure="INVALID_INPUT"),
    ),
    rests_on=(DocumentVersion("doc", 2),),
)


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    client = connect(stack.mongo, timeout_s=10)
    name = unique_name("evaluator")
    yield client[name]
    await client.drop_database(name)
    client.close()


@pytest.fixture(params=["in memory", "mongodb"])
def results(request: pytest.FixtureRequest) -> PromptResults:
    if request.param == "in memory":
        return InMemoryPromptResults()
    database: Database = request.getfixturevalue("database")
    return MongoPromptResults(database["prompt_results"])


async def test_results_are_read_as_they_were_kept_of_their_test_alone(results: PromptResults) -> None:
    await results.keep("acme", "t1", KEPT, epoch=2)

    assert await results.read("acme", "t1") == {"c1": KEPT}
    assert await results.read("globex", "t1") == await results.read("acme", "t2") == {}
    with pytest.raises(EvaluationLost):
        await results.keep("acme", "t1", KEPT, epoch=1)


async def test_a_test_is_read_as_it_was_stored() -> None:
    tester = PromptTester()
    context = Context(earlier=(Turn(Role.USER, "hello"),), variables={"tone": {"warm": True}}, principals=("g",))
    case = Case(id="1", question="what?", reference="that", context=context)

    done = await tester.finish(await tester.begun(LIVE, NEW, suite="", questions=(case,)))

    stored = PROMPT_TESTS.encode(done)
    assert PROMPT_TESTS.decode(identity(done), stored, PROMPT_TESTS.schema) == done


@pytest.mark.server
async def test_texts_of_old_tests_go_with_their_results_and_the_figures_stay(database: Database) -> None:
    tester = PromptTester()
    draft = PromptVariant(name="draft", deployment="helpdesk", unsaved=PromptText(user="canary {{ question }}"))
    case = Case(id="1", question="what is the canary?", reference="that")
    done = await tester.finish(await tester.begun(LIVE, draft, suite="", questions=(case,)))
    results, held = MongoPromptResults(database["prompt_results"]), {"acme"}
    await results.keep("acme", done.id, KEPT, epoch=1)
    forget = ForgetResults(
        evaluations=tester.tests,
        results=database["prompt_results"],
        ages=lambda: {"acme": timedelta(days=30)},
        spares=held.__contains__,
        clock=tester.clock,
        texts=PromptTest.forget_texts,
    )
    tester.pass_time(31 * 86400)

    assert await forget() == 0
    assert await tester.tests.get("acme", done.id) == done, "a held project keeps all"
    held.clear()
    assert [await forget(), await forget()] == [1, 0]

    kept = await tester.tests.get("acme", done.id)
    assert "canary" not in repr(kept)
    assert kept.figures == done.figures
    assert kept.grid.variants[1].unsaved == PromptText(user="")


async def test_a_test_is_started_followed_and_cancelled_over_grpc() -> None:
    tester = PromptTester()
    server = DirectServer(
        settings(),
        [
            (
                add_PromptTestServiceServicer_to_server,
                GrpcPromptTestService(tests=tester.crud, start=tester.start, list_results=tester.list_results),
            )
        ],
        access=access_of(),
        audit=RecordedCalls(),
    )
    await server.start()
    turn = content_pb2.Message(role=content_pb2.ROLE_USER, parts=[content_pb2.Part(text="hello")])
    question = pb.PromptQuestion(question="what is 1?", reference="it is number 1", earlier=[turn])
    question.variables["tone"] = "dry"
    draft = pb.PromptVariant(
        deployment="helpdesk",
        unsaved=pb.PromptText(user="{{ question }}"),
        sampling=pb.VariantSampling(temperature=0.0),
    )
    request = rpc.StartPromptTestRequest(
        questions=[question], variants=[pb.PromptVariant(name="live", deployment="helpdesk"), draft]
    )
    async with admin_channel(f"127.0.0.1:{server.port}", project="acme") as channel:
        api = PromptTestServiceStub(channel)
        started = (await api.StartPromptTest(request)).test
        (queued,) = tester.tests.all()
        await tester.finish(queued)
        done = (await api.GetPromptTest(rpc.GetPromptTestRequest(id=started.id))).test
        listed = (await api.ListPromptTests(rpc.ListPromptTestsRequest())).tests
        others = (await api.ListPromptTests(rpc.ListPromptTestsRequest(filter='suite = "truth"'))).tests
        found = (await api.ListPromptResults(rpc.ListPromptResultsRequest(test=started.id))).results
        with pytest.raises(PreconditionFailed, match="already completed"):
            await api.CancelPromptTest(rpc.CancelPromptTestRequest(id=started.id))
    await server.stop(1.0)

    assert list(done.questions) == [question]
    assert [each.name for each in done.variants] == ["live", "2"]
    assert done.variants[1].unsaved.user == "{{ question }}"
    assert done.variants[1].sampling.HasField("temperature")
    assert not done.variants[0].HasField("sampling")
    assert (done.answered, done.cells, len(done.figures)) == (2, 2, 2)
    assert not done.figures[0].measures[0].HasField("difference")
    assert (len(listed), list(listed[0].questions), listed[0].variants[1].HasField("unsaved")) == (1, [], False)
    assert [(each.answered, len(each.measures)) for each in listed[0].figures] == [(1, 0), (1, 0)]
    assert not others
    assert [(each.case, each.question, len(each.answers)) for each in found] == [("1", "what is 1?", 2)]
    assert found[0].answers[0].text == "i do not know"


async def with_results() -> tuple[PromptTester, str]:
    tester = PromptTester()
    await tester.with_suite()
    tester.inference.finds = (passage(),)
    tester.is_right("answer@3", 2)
    return tester, (await tester.finish(await tester.begun())).id


async def test_results_are_ordered_by_a_metric_and_paged() -> None:
    tester, test = await with_results()

    async def listed(*, highest_first: bool) -> list[str]:
        names, token = list[str](), ""
        while True:
            page = PageRequest(size=1, token=token)
            command = ListPromptResultsCommand(test=test, page=page, highest_first=highest_first)
            found = await tester.list_results(OPERATOR, command)
            names, token = names + [each.result.case for each in found.items], found.next_token
            if not token:
                return names

    assert await listed(highest_first=False) == ["c1", "c3", "c2"]
    assert await listed(highest_first=True) == ["c2", "c3", "c1"]
    with pytest.raises(InvalidInput, match="'rouge' is not a metric"):
        await tester.list_results(ADA, ListPromptResultsCommand(test=test, page=PageRequest(), metric="rouge"))


async def test_results_are_ordered_by_what_the_test_was_asked_for() -> None:
    tester = PromptTester()
    await tester.with_suite()
    for case, text in zip(cases(3), ("a b c", "a", "a b"), strict=True):
        tester.inference.says["helpdesk", case.question] = text

    test = (await tester.finish(await tester.begun(LIVE, metrics=("output_tokens",)))).id
    found = await tester.list_results(OPERATOR, ListPromptResultsCommand(test=test, page=PageRequest()))

    assert [each.result.case for each in found.items] == ["c2", "c3", "c1"]


async def test_texts_on_documents_that_a_viewer_may_not_read_are_left_out() -> None:
    tester, test = await with_results()
    command = ListPromptResultsCommand(test=test, page=PageRequest())

    readable = await tester.list_results(VIEWER, command)
    tester.readers.secret = {DocumentVersion("doc", 2)}
    hidden = await tester.list_results(VIEWER, command)
    managed = await tester.list_results(OPERATOR, command)

    assert all(cell.text and not each.restricted for each in readable.items for cell in each.result.cells)
    assert all(not cell.text and each.restricted for each in hidden.items for cell in each.result.cells)
    assert all(cell.scores and each.question for each in hidden.items for cell in each.result.cells)
    assert managed.items == readable.items


async def test_a_case_from_live_traffic_is_left_out_with_its_answers_and_erased_with_its_people(
    database: Database,
) -> None:
    tester = PromptTester()
    live = replace(
        cases(1)[0], proposal="p1", end_user="bob", corrected_by="ada", rests_on=(DocumentVersion("doc", 2),)
    )
    await tester.with_suite(live, *cases(3)[1:])
    test = (await tester.finish(await tester.begun())).id
    tester.readers.secret = {DocumentVersion("doc", 2)}
    results = MongoPromptResults(database["prompt_results"])
    await results.ensure_indexes()

    shown = {
        each.result.case: each
        for each in (await tester.list_results(VIEWER, ListPromptResultsCommand(test=test, page=PageRequest()))).items
    }
    for kept in (await tester.results.read("acme", test)).values():
        await results.keep("acme", test, kept, epoch=1)
    erase = documents("results", database["prompt_results"], where=prompt_results_of_user)

    assert (shown["c1"].question, shown["c1"].reference, shown["c1"].restricted) == ("", "", True)
    assert (shown["c2"].question, shown["c2"].restricted) == ("what is 2?", False)
    assert {each.end_user for each in tester.inference.asked if each.text == live.question} == {"bob"}
    assert await erase.erase(Target(project="acme", scope=Scope.END_USER, subject="ada")) == 1
    assert (await results.read("acme", test)).keys() == {"c2", "c3"}


async def test_cases_that_are_not_in_the_test_any_more_are_not_shown() -> None:
    tester, test = await with_results()
    tester.results.stored["acme", test, "gone"] = (replace(KEPT, case="gone"), 1)

    found = await tester.list_results(OPERATOR, ListPromptResultsCommand(test=test, page=PageRequest()))

    assert [each.result.case for each in found.items] == ["c1", "c3", "c2"]
