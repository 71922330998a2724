"""Who sees the texts of case results: the rule of recorded answers."""

from dataclasses import replace

import pytest
from google.protobuf.json_format import MessageToJson

from services.evaluator.tests.builders import ADA, DATASETS, cases, example, passage, write
from services.evaluator.tests.harness import Evaluator, ready
from tidemill.content.v1 import content_pb2
from tidemill_core.application import Caller, PageRequest
from tidemill_core.errors import DependencyUnavailable
from tidemill_evaluator.evaluations.list_case_results import ListCommand, Shown
from tidemill_evaluator.suites.domain.cases import DocumentVersion
from tidemill_evaluator.suites.domain.suite import Suite
from tidemill_kit.store.objects import ExchangeBucket

EVE = Caller(project="acme", subject="user:eve", roles=frozenset({"viewer"}))
OPERATOR = Caller(project="acme", subject="user:oda", roles=frozenset({"operator"}))
SECRET = DocumentVersion("doc", 2)


async def evaluated(*, of_suite: bool, collection: str = "") -> tuple[Evaluator, str]:
    """Return an evaluator, and an evaluation whose first case was answered on a document."""
    evaluator = await ready()
    prefix = "" if of_suite else "held out: "
    question = cases(1, prefix=prefix)[0].question
    evaluator.inference.finds[question] = [replace(passage(), collection=collection)]
    await evaluator.register()
    await evaluator.finish()
    (evaluation,) = await evaluator.all()
    return evaluator, evaluation.id


async def first(evaluator: Evaluator, evaluation: str, caller: Caller, *, of_suite: bool) -> Shown:
    page = await evaluator.list_case_results(caller, ListCommand(evaluation=evaluation, page=PageRequest()))
    kind = "suite:" if of_suite else "dataset:"
    return next(each for each in page.items if each.result.case == "c1" and each.result.case_set.startswith(kind))


def texts(shown: Shown) -> list[bool]:
    return [*map(bool, (shown.question, shown.reference, shown.result.baseline.text, shown.result.candidate.text))]


@pytest.mark.parametrize("of_suite", [True, False])
async def test_answers_on_a_document_are_for_its_readers_and_for_who_acts_for_users(*, of_suite: bool) -> None:
    evaluator, evaluation = await evaluated(of_suite=of_suite)
    may_read = await first(evaluator, evaluation, EVE, of_suite=of_suite)
    evaluator.readers.secret = {SECRET}

    hidden = await first(evaluator, evaluation, EVE, of_suite=of_suite)
    operator = await first(evaluator, evaluation, OPERATOR, of_suite=of_suite)
    service = await first(evaluator, evaluation, Caller.of_service("acme", "trainer"), of_suite=of_suite)

    assert (texts(may_read), may_read.restricted) == ([True] * 4, False)
    assert (texts(hidden), hidden.restricted) == ([of_suite, of_suite, False, False], True)
    assert hidden.result.candidate.scores == operator.result.candidate.scores
    for each in (operator, service):
        assert (texts(each), each.restricted) == ([True] * 4, False)


async def test_a_suites_case_from_live_traffic_is_shown_as_a_held_out_one() -> None:
    evaluator = Evaluator()
    live = replace(cases(1)[0], proposal="p1", end_user="bob", corrected_by="ada", rests_on=(SECRET,))
    await evaluator.suite_crud.create(ADA, Suite(id="truth", project="acme"), [live, *cases(3)[1:]], write())
    evaluator.candidate_is_right()
    evaluation = await evaluator.finish(await evaluator.by_hand())
    by_other = await first(evaluator, evaluation.id, EVE, of_suite=True)
    evaluator.readers.secret = {SECRET}

    hidden = await first(evaluator, evaluation.id, EVE, of_suite=True)
    asker = await first(evaluator, evaluation.id, replace(EVE, subject="bob"), of_suite=True)

    assert texts(by_other) == texts(asker) == [True] * 4
    assert (texts(hidden), hidden.restricted) == ([False] * 4, True)
    kept = [stored for stored, _ in evaluator.results.stored.values()]
    assert [(each.end_user, each.corrected_by) for each in kept if each.end_user] == [("bob", "ada")]
    assert {each.end_user for each in evaluator.inference.asked if each.text == live.question} == {"bob"}


async def test_who_asked_a_held_out_case_sees_its_texts() -> None:
    evaluator, evaluation = await evaluated(of_suite=False)
    evaluator.readers.secret = {SECRET}

    assert texts(await first(evaluator, evaluation, ADA, of_suite=False)) == [True] * 4


async def test_documents_of_other_projects_are_for_who_acts_for_users() -> None:
    evaluator, evaluation = await evaluated(of_suite=True, collection="globex/docs")

    assert (await first(evaluator, evaluation, EVE, of_suite=True)).restricted


async def test_what_results_of_an_earlier_version_rest_on_is_not_known() -> None:
    evaluator, evaluation = await evaluated(of_suite=True)
    evaluator.results.stored = {
        name: (replace(kept, rests_on=None), epoch) for name, (kept, epoch) in evaluator.results.stored.items()
    }

    assert (await first(evaluator, evaluation, EVE, of_suite=True)).restricted
    assert not (await first(evaluator, evaluation, OPERATOR, of_suite=True)).restricted


async def test_nothing_is_shown_to_readers_while_ingest_does_not_say_who_they_are() -> None:
    evaluator, evaluation = await evaluated(of_suite=True)
    evaluator.readers.away = DependencyUnavailable("ingest is away", dependency="ingest")

    with pytest.raises(DependencyUnavailable):
        await first(evaluator, evaluation, EVE, of_suite=True)
    assert texts(await first(evaluator, evaluation, OPERATOR, of_suite=True)) == [True] * 4


async def test_a_held_out_case_rests_on_the_passages_of_its_example() -> None:
    evaluator = Evaluator()
    (case,) = cases(1)
    given = example(case)
    given.passages.add(document="doc", version=2)
    given.earlier.append(content_pb2.Message(role=content_pb2.ROLE_USER, parts=[content_pb2.Part(text="Before?")]))
    data = MessageToJson(given, indent=None, preserving_proto_field_name=True).encode()
    content = await ExchangeBucket(evaluator.objects, DATASETS).put("acme", "sft", data, media_type="application/jsonl")
    evaluator.publish("sft", 2, 1, content)
    await evaluator.with_suite()
    await evaluator.with_gate()
    case_set = evaluator.datasets.parts["sft@2"]

    (read,) = await evaluator.cases.read("acme", case_set)

    assert read.rests_on == (SECRET,)
