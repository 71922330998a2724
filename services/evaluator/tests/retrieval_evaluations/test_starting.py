"""What can be measured is refused or queued at once."""

import pytest

from services.evaluator.tests.builders import ADA, request
from services.evaluator.tests.retrieval_evaluations.harness import OTHER, RetrievalEvaluator, judged
from tidemill_core.application import PageRequest
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_evaluator.errors import NoJudgements, NoVerdict, SuiteNotFound
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.retrieval_evaluations.domain.retrieval_evaluation import RetrievalSide, Searching
from tidemill_evaluator.retrieval_evaluations.list_retrieval_results import ListResultsCommand
from tidemill_evaluator.suites.domain.cases import Case

QUESTIONS = Searching(suite="questions", collection="handbook")


async def test_a_repeated_request_starts_nothing() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite()

    first = await evaluator.start(ADA, QUESTIONS, request=request("r1"))
    again = await evaluator.start(ADA, QUESTIONS, request=request("r1"))

    assert (first.id, first.state, len(await evaluator.all())) == (again.id, State.QUEUED, 1)
    assert evaluator.enqueue.enqueued == 2


async def test_validation_stores_nothing() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite()

    await evaluator.start(ADA, QUESTIONS, request=request("r1"), validate_only=True)

    assert await evaluator.all() == []


@pytest.mark.parametrize(
    ("searching", "field"),
    [
        (Searching(suite="No slug", collection="handbook"), "suite"),
        (Searching(suite="questions", collection=""), "collection"),
        (Searching(suite="questions", collection="handbook", depth=26), "depth: is 26"),
        (Searching(suite="questions", collection="handbook", max_cases=-1), "max_cases: is -1"),
        (
            Searching(suite="questions", collection="handbook", candidate=RetrievalSide(index=-2)),
            r"candidate\.index: is -2",
        ),
        (
            Searching(suite="questions", collection="handbook", baseline=RetrievalSide(settings="x" * 8001)),
            r"baseline\.settings: has 8001",
        ),
    ],
)
async def test_every_field_that_is_wrong_is_named(searching: Searching, field: str) -> None:
    evaluator = RetrievalEvaluator()

    with pytest.raises(InvalidInput, match=field):
        await evaluator.start(ADA, searching, request=request())


async def test_what_is_missing_is_named() -> None:
    evaluator = RetrievalEvaluator()
    with pytest.raises(SuiteNotFound):
        await evaluator.start(ADA, QUESTIONS, request=request())
    await evaluator.with_suite()
    with pytest.raises(NotFound, match="collection wiki"):
        await evaluator.start(ADA, Searching(suite="questions", collection="wiki"), request=request())
    with pytest.raises(NoVerdict, match="no index version 2"):
        await evaluator.begun(candidate=RetrievalSide(index=2))


async def test_a_suite_without_judgements_is_refused_and_says_what_to_do() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite(Case(id="q1", question="where?", reference="here"), judged(2, d1=0))

    with pytest.raises(NoJudgements, match="suites import"):
        await evaluator.begun()


async def test_settings_that_rag_refuses_are_named_as_the_caller_named_them() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite()
    evaluator.retrieval.fails["handbook"] = [InvalidInput.at(field="settings.min_score", text="is 7; use 0 to 1")]

    with pytest.raises(InvalidInput, match=r"baseline\.settings\.min_score: is 7"):
        await evaluator.begun(candidate=OTHER)


async def test_results_are_listed_worst_first_over_pages() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite()
    evaluator.finds(1, "d1")
    evaluator.finds(2, "d9", "d2")
    evaluator.retrieval.known = {"d3"}
    done = await evaluator.finish(await evaluator.begun())

    first = await evaluator.list_results(ADA, ListResultsCommand(evaluation=done.id, page=PageRequest(size=2)))
    rest = await evaluator.list_results(
        ADA, ListResultsCommand(evaluation=done.id, page=PageRequest(size=2, token=first.next_token))
    )
    best = await evaluator.list_results(
        ADA, ListResultsCommand(evaluation=done.id, page=PageRequest(size=1), metric="mrr", best_first=True)
    )

    assert [each.result.case for each in first.items] == ["q3", "q2"]
    assert [(each.result.case, each.question) for each in rest.items] == [("q1", "where is 1?")]
    assert [each.result.baseline.documents for each in best.items] == [("d1",)]
    with pytest.raises(InvalidInput, match="page_token"):
        await evaluator.list_results(
            ADA, ListResultsCommand(evaluation=done.id, page=PageRequest(token=first.next_token), metric="mrr")
        )
    with pytest.raises(InvalidInput, match="metric: 'bleu' is not a metric"):
        await evaluator.list_results(ADA, ListResultsCommand(evaluation=done.id, page=PageRequest(), metric="bleu"))
