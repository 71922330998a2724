"""What searches find is measured, once, whatever happens meanwhile."""

from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, request
from services.evaluator.tests.retrieval_evaluations.harness import (
    LIVE,
    OTHER,
    SETTINGS,
    RetrievalEvaluator,
    judged,
    measure,
    question,
)
from tidemill_core.application import Requeue
from tidemill_core.errors import DependencyUnavailable, InvalidInput, RateLimited
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.retrieval_evaluations.domain.retrieval_evaluation import (
    RetrievalEvaluationHasCompleted,
    RetrievalEvaluationHasFailed,
    RetrievalEvaluationHasStarted,
    RetrievalSide,
)
from tidemill_evaluator.retrieval_evaluations.ports import SearchedCollection, SearchQuery
from tidemill_evaluator.suites.domain.cases import Case, Context


async def test_one_way_of_searching_is_measured_with_an_interval_of_the_mean() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite()
    evaluator.finds(1, "d1", "d9")
    evaluator.finds(2, "d9", "d2")
    evaluator.retrieval.known = {"d3"}

    done = await evaluator.finish(await evaluator.begun())

    assert (done.state, done.answered, done.cases) == (State.COMPLETED, 3, 3)
    reciprocal = measure(done, "mrr")
    assert (reciprocal.baseline, reciprocal.candidate, reciprocal.difference) == (0.5, 0.0, 0.0)
    assert (reciprocal.low, reciprocal.high, reciprocal.questions) == (0.0, 1.0, 3)
    assert measure(done, "hit").baseline == measure(done, "recall").baseline == pytest.approx(2 / 3)
    assert done.pinned is not None
    assert done.pinned.baseline == RetrievalSide(index=LIVE, settings=SETTINGS)
    assert [type(event) for event in evaluator.evaluations.published] == [
        RetrievalEvaluationHasStarted,
        RetrievalEvaluationHasCompleted,
    ]


async def test_two_ways_are_compared_question_by_question() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite()
    for number in (1, 2, 3):
        evaluator.finds(number, "d9", f"d{number}")
        evaluator.finds(number, f"d{number}", "d9", settings=OTHER.settings)

    done = await evaluator.finish(await evaluator.begun(candidate=OTHER))

    found = measure(done, "mrr")
    assert (found.baseline, found.candidate, found.difference, found.low, found.high) == (0.5, 1.0, 0.5, 0.5, 0.5)
    first = [query.side.settings for query in evaluator.retrieval.searched if query.text == question(2)]
    assert first == [OTHER.settings, SETTINGS], "every second question is asked of the candidate first"


async def test_repeats_of_a_question_count_once() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite(judged(1), judged(2, text=question(1).upper(), d1=1), judged(3))
    evaluator.finds(1, "d1")
    evaluator.retrieval.known = {"d1", "d3"}

    done = await evaluator.finish(await evaluator.begun())

    assert measure(done, "hit").questions == 2
    assert measure(done, "hit").baseline == pytest.approx((0.5 + 0) / 2)


async def test_relevant_documents_that_are_gone_count_neither_way() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite(judged(1, d1=1, d7=1), judged(2), judged(3, d3=0))
    evaluator.finds(1, "d1")

    done = await evaluator.finish(await evaluator.begun())

    assert measure(done, "recall").baseline == 1.0
    assert done.figures is not None
    assert (done.figures.gone, done.figures.unjudged, measure(done, "recall").questions) == (1, 1, 1)
    assert evaluator.results.stored["acme", done.id, "q1"][0].gone == ("d7",)


async def test_it_says_when_no_case_counts() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite()

    done = await evaluator.finish(await evaluator.begun())

    assert (done.state, done.reason) == (State.FAILED, "NO_JUDGEMENTS")
    assert "of 3 the relevant documents are gone" in done.message
    assert type(evaluator.evaluations.published[-1]) is RetrievalEvaluationHasFailed


async def test_a_question_that_cannot_be_searched_fails_alone() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite()
    evaluator.retrieval.known = {"d1", "d2", "d3"}
    evaluator.retrieval.fails[question(2)] = [InvalidInput.at(field="query", text="has 9000 characters")]

    done = await evaluator.finish(await evaluator.begun())

    assert done.figures is not None
    assert (done.state, done.figures.failures, measure(done, "hit").questions) == (State.COMPLETED, 1, 2)


async def test_settings_that_rag_refuses_end_it() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite()
    evaluator.retrieval.fails[question(2)] = [InvalidInput.at(field="settings.min_score", text="is 7; use 0 to 1")]

    done = await evaluator.finish(await evaluator.begun())

    assert (done.state, done.reason) == (State.FAILED, "SETTINGS_REJECTED")
    assert "settings.min_score: is 7" in done.message


async def test_it_waits_for_rag_and_goes_on_where_it_was() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite()
    evaluator.retrieval.known = {"d1", "d2", "d3"}
    away = DependencyUnavailable("no answer", dependency="rag")
    evaluator.retrieval.fails[question(3)] = [RateLimited("busy", retry_after_s=1.0), away]
    begun = await evaluator.begun()

    assert await evaluator.work(begun) == Requeue()
    waiting = await evaluator.evaluations.get("acme", begun.id)
    done = await evaluator.finish(begun, epoch=2)

    assert (waiting.state, waiting.message) == (State.RUNNING, "waits for rag: no answer")
    assert done.state is State.COMPLETED
    texts = [query.text for query in evaluator.retrieval.searched[1:]]
    assert sorted(texts) == [question(number) for number in (1, 2, 3)], "no case was searched twice"


async def test_a_worker_that_slept_through_its_lease_changes_nothing() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite()
    evaluator.retrieval.known = {"d1", "d2", "d3"}
    begun = await evaluator.begun()
    await evaluator.finish(begun, epoch=5)

    assert await evaluator.work(begun, epoch=4) is None
    assert (await evaluator.evaluations.get("acme", begun.id)).epoch == 5


async def test_cancelling_stops_the_worker_at_its_next_write() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite()
    begun = await evaluator.begun()

    async def cancel(query: SearchQuery) -> None:
        if query.text == question(1):
            await evaluator.crud.cancel(ADA, begun.id, request=request("cancel"))

    evaluator.retrieval.before = cancel
    done = await evaluator.finish(begun)

    assert (done.state, done.reason, done.figures) == (State.CANCELLED, "CANCELLED", None)


async def test_an_index_version_that_is_replaced_meanwhile_ends_it() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite()
    begun = await evaluator.begun()

    async def replaced(query: SearchQuery) -> None:
        if query.text == question(3):
            evaluator.retrieval.collections["acme", "handbook"] = collection(live=4, documents=10)

    evaluator.retrieval.before = replaced
    done = await evaluator.finish(begun)

    assert (done.state, done.reason) == (State.FAILED, "COLLECTION_CHANGED")
    assert "index version 3" in done.message


async def test_documents_that_change_meanwhile_are_said() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite()
    evaluator.retrieval.known = {"d1", "d2", "d3"}
    begun = await evaluator.begun()

    async def more(_query: SearchQuery) -> None:
        evaluator.retrieval.collections["acme", "handbook"] = collection(live=LIVE, documents=12)

    evaluator.retrieval.before = more
    done = await evaluator.finish(begun)

    assert (done.state, done.message) == (
        State.COMPLETED,
        "documents changed while they were searched: 10 at the start, 12 at the end",
    )


async def test_a_collection_that_is_deleted_before_it_begins_ends_it() -> None:
    evaluator = RetrievalEvaluator()
    await evaluator.with_suite()
    begun = await evaluator.begun()
    evaluator.retrieval.collections.clear()

    done = await evaluator.finish(begun)

    assert (done.state, done.reason) == (State.FAILED, "COLLECTION_UNAVAILABLE")


async def test_questions_are_asked_for_their_readers_and_of_a_sample_where_one_is_requested() -> None:
    evaluator = RetrievalEvaluator()
    restricted = [replace(judged(number), context=Context(principals=("group:legal",))) for number in range(1, 9)]
    await evaluator.with_suite(*restricted)
    evaluator.retrieval.known = {f"d{number}" for number in range(1, 9)}

    done = await evaluator.finish(await evaluator.begun(max_cases=3, depth=5))

    asked = evaluator.retrieval.searched[1:]
    assert (done.cases, len(asked)) == (3, 3)
    assert {(query.principals, query.passages) for query in asked} == {(("group:legal",), 20)}


def collection(*, live: int, documents: int) -> SearchedCollection:
    return SearchedCollection(name="handbook", live_index=live, settings=SETTINGS, documents={live: documents})


def test_a_case_says_which_documents_are_relevant() -> None:
    case: Case = judged(1, d1=2, d2=0)
    assert case.relevant == {"d1": 2}
