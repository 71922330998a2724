"""What searches of an index version find is compared for a gate by a retrieval evaluation, which it starts once."""

from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, request
from services.evaluator.tests.retrieval_evaluations.harness import LIVE, SETTINGS, RetrievalEvaluator, judged, question
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.errors import (
    CANCELLED,
    COLLECTION_CHANGED,
    COLLECTION_UNAVAILABLE,
    NO_JUDGEMENTS,
    NoVerdict,
)
from tidemill_evaluator.evaluations.domain.comparison import Comparison, Evidence
from tidemill_evaluator.evaluations.domain.evaluation import Comparing, Evaluation
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.gates.domain.gate import RetrievalRequirement
from tidemill_evaluator.retrieval_evaluations.compare_for_gate import CompareForGate
from tidemill_evaluator.retrieval_evaluations.ports import SearchedCollection, SearchQuery

NEXT = LIVE + 1


class Gated(RetrievalEvaluator):
    """An evaluator with an index version beside the live one, and the evaluation of a gate that compares both."""

    def __init__(self, *, gain_above: float = -0.02, at_least: int = 0) -> None:
        super().__init__()
        self.has(live=LIVE, others=(NEXT,))
        self.retrieval.known = {"d1", "d2", "d3"}
        required = RetrievalRequirement(
            suite="questions", metric="ndcg", gain_above=gain_above, at_least=at_least, depth=5
        )
        comparing = Comparing(
            deployment="helpdesk", candidate=f"handbook@{NEXT}", collection="handbook", retrieval=required, gate="gate"
        )
        self.evaluation = Evaluation.queued("acme", comparing, origin="gate/index:handbook@4", requester="user:ada")
        self.compare = CompareForGate(
            evaluations=self.evaluations,
            retrieval=self.retrieval,
            evidence=Evidence(min_questions=2, max_unanswered=0.4),
            enqueue=self.enqueue,
            clock=self.clock,
        )

    def has(self, *, live: int, others: tuple[int, ...] = ()) -> None:
        documents = dict.fromkeys((live, *others), 10)
        self.retrieval.collections["acme", "handbook"] = SearchedCollection(
            name="handbook", live_index=live, settings=SETTINGS, documents=documents
        )

    async def started(self) -> None:
        self.evaluation.retrieval_evaluation = await self.compare.started(ADA, self.evaluation)

    async def compared(self) -> Comparison | None:
        """Have the retrieval evaluation done, and return what it says to the gate."""
        await self.finish(await self.evaluations.get("acme", self.evaluation.retrieval_evaluation))
        found = await self.compare.result(ADA, self.evaluation)
        if found is None:
            return None
        assert found.baseline_index == LIVE
        return found.comparison


async def test_both_index_versions_are_searched_with_the_same_settings_and_the_difference_is_bounded() -> None:
    gated = Gated()
    await gated.with_suite()
    for number in (1, 2, 3):
        gated.finds(number, f"d{number}")
    await gated.started()
    assert await gated.compare.result(ADA, gated.evaluation) is None

    found = await gated.compared()

    assert found
    assert (found.case_set, found.metric, found.cases, found.low, found.holds) == (
        "suite:questions@1",
        "ndcg",
        3,
        0.0,
        True,
    )
    asked = gated.retrieval.searched
    assert {(query.side.index, query.side.settings) for query in asked} == {(LIVE, SETTINGS), (NEXT, SETTINGS)}


@pytest.mark.parametrize(
    ("bounds", "why"), [({"gain_above": 0.0}, "it must be above +0"), ({"at_least": 9}, "at least 9")]
)
async def test_too_small_a_gain_and_too_few_questions_do_not_hold(bounds: dict[str, float], why: str) -> None:
    gated = Gated(**bounds)  # type: ignore[arg-type]
    await gated.with_suite()
    for number in (1, 2, 3):
        gated.finds(number, f"d{number}")
    await gated.started()

    found = await gated.compared()

    assert found
    assert not found.holds
    assert why in found.note


async def test_a_worker_that_died_behind_the_start_starts_no_second_one_and_no_caller_can_start_it_before() -> None:
    gated = Gated()
    await gated.with_suite()
    await gated.begun()
    await gated.started()
    first = gated.evaluation.retrieval_evaluation
    await gated.started()

    assert gated.evaluation.retrieval_evaluation == first
    assert len(await gated.all()) == 2


async def test_an_index_version_that_is_live_or_gone_is_not_compared() -> None:
    gated = Gated()
    gated.has(live=NEXT, others=(LIVE,))
    with pytest.raises(NoVerdict, match="is live already"):
        await gated.started()
    gated.has(live=LIVE)
    with pytest.raises(NoVerdict, match="no index version 4 that can be searched"):
        await gated.started()
    gated.retrieval.collections.clear()
    with pytest.raises(NoVerdict) as gone:
        await gated.started()
    assert gone.value.reason == COLLECTION_UNAVAILABLE


async def test_an_index_version_that_went_live_before_the_searches_is_not_compared_with_itself() -> None:
    gated = Gated()
    await gated.with_suite()
    await gated.started()
    gated.has(live=NEXT, others=(LIVE,))

    with pytest.raises(NoVerdict, match="index version 4 of handbook went live before") as refused:
        await gated.compared()
    assert refused.value.reason == COLLECTION_CHANGED


async def test_without_figures_the_gate_has_no_verdict_either() -> None:
    unjudged = Gated()
    await unjudged.with_suite(replace(judged(1), judgements=(), reference="one"))
    await unjudged.started()
    with pytest.raises(NoVerdict) as refused:
        await unjudged.compared()
    assert refused.value.reason == NO_JUDGEMENTS

    cancelled = Gated()
    await cancelled.with_suite()
    await cancelled.started()
    await cancelled.crud.cancel(ADA, cancelled.evaluation.retrieval_evaluation, request=request())
    with pytest.raises(NoVerdict) as stopped:
        await cancelled.compared()
    assert stopped.value.reason == CANCELLED


async def test_each_side_is_searched_by_the_settings_of_its_index_version() -> None:
    gated = Gated()
    await gated.with_suite()
    gated.has(live=LIVE, others=(NEXT,))
    known = gated.retrieval.collections["acme", "handbook"]
    other = '{"sparse_weight": 1.5}'
    gated.retrieval.collections["acme", "handbook"] = replace(known, index_settings={NEXT: other})
    await gated.started()
    await gated.compared()

    assert {(each.side.index, each.side.settings) for each in gated.retrieval.searched} == {
        (LIVE, SETTINGS),
        (NEXT, other),
    }


async def test_a_collection_whose_live_index_changed_behind_the_searches_is_noticed() -> None:
    gated = Gated()
    await gated.with_suite()
    await gated.started()
    await gated.compared()
    await gated.compare.check_unchanged(ADA, gated.evaluation)

    gated.has(live=LIVE)
    with pytest.raises(NoVerdict) as retired:
        await gated.compare.check_unchanged(ADA, gated.evaluation)
    gated.has(live=9, others=(NEXT,))
    with pytest.raises(NoVerdict, match="index version 9 of handbook is live by now, and not 3") as changed:
        await gated.compare.check_unchanged(ADA, gated.evaluation)

    assert (retired.value.reason, changed.value.reason) == (COLLECTION_UNAVAILABLE, COLLECTION_CHANGED)


async def test_searches_that_fail_count_against_the_gate() -> None:
    gated = Gated()
    await gated.with_suite()

    async def fails(query: SearchQuery) -> None:
        if query.text in {question(1), question(2)}:
            raise InvalidInput.at(field="query", text="is refused")

    await gated.started()
    gated.retrieval.before = fails

    found = await gated.compared()

    assert found
    assert not found.holds
    assert "2 of 3 searches failed" in found.note


async def test_it_is_cancelled_with_the_evaluation_once_and_only_while_it_runs() -> None:
    gated = Gated()
    await gated.with_suite()
    await gated.compare.stop(ADA, gated.evaluation)  # there is none yet
    await gated.started()
    await gated.compare.stop(ADA, gated.evaluation)
    await gated.compare.stop(ADA, gated.evaluation)

    (stopped,) = await gated.all()
    assert (stopped.state, stopped.reason) == (State.CANCELLED, CANCELLED)
    assert stopped.message == f"evaluation {gated.evaluation.id}, which it was part of, has ended"

    done = Gated()
    await done.with_suite()
    await done.started()
    await done.compared()
    await done.compare.stop(ADA, done.evaluation)
    assert [each.state for each in await done.all()] == [State.COMPLETED]
