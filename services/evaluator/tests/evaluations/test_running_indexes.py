"""A gate of index versions: searches are compared first, then answers, each side on its own passages."""

from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, BASE, DEADLINE_S, DIGEST, cases, name_of, passage, request, write
from services.evaluator.tests.harness import TRUTH, Evaluator
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.errors import COLLECTION_CHANGED, COLLECTION_UNAVAILABLE, NoVerdict
from tidemill_evaluator.evaluations.domain.comparison import Comparison, Verdict
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation, EvaluationHasCompleted
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.evaluations.messages import event_message
from tidemill_evaluator.evaluations.ports import Live
from tidemill_evaluator.evaluations.start_evaluation import StartCommand
from tidemill_evaluator.gates.domain.gate import Gate, Requirement, RetrievalRequirement

SEARCHES = RetrievalRequirement(suite="questions", metric="ndcg", gain_above=-0.02)
GATE = Gate(
    id="index_gate", deployment="helpdesk", collection="handbook", require=(TRUTH,), retrieval=SEARCHES, project="acme"
)
FOUND = Comparison(
    case_set="suite:questions@1",
    metric="ndcg",
    cases=50,
    baseline=0.8,
    candidate=0.9,
    difference=0.1,
    low=0.02,
    high=0.2,
    required=True,
    gain_above=-0.02,
    at_least=0,
    holds=True,
    baseline_failures=0,
    candidate_failures=0,
)


async def indexed(*, paused: bool = False) -> Evaluator:
    """Return an evaluator whose gate has index version 4 as its candidate, on whose passages every answer is right."""
    evaluator = Evaluator()
    live = Live(digest=DIGEST, model=BASE, deadline_s=DEADLINE_S, collection="handbook")
    evaluator.inference.deployments["acme", "helpdesk"] = live
    await evaluator.with_suite()
    await evaluator.with_suite("questions")
    await evaluator.gate_crud.create(ADA, replace(GATE, paused=paused), write())
    for case in cases():
        evaluator.inference.says["index 4", case.question] = case.reference
        evaluator.inference.finds[case.question] = [passage()]
    evaluator.retrieval.found = FOUND
    await evaluator.triggers.index_became_ready(ADA, "handbook", 4)
    return evaluator


async def test_an_index_version_passes_by_its_searches_and_by_answers_on_its_own_passages() -> None:
    evaluator = await indexed()

    done = await evaluator.finish()

    assert (done.state, done.verdict, done.candidate, done.baseline) == (
        State.COMPLETED,
        Verdict.PASSED,
        "handbook@4",
        BASE,
    )
    assert done.finish_time
    _, sent = event_message(done, EvaluationHasCompleted(occurred_at=done.finish_time), 2)
    assert sent.baseline_index == 3  # type: ignore[attr-defined] # the event's own field
    assert [(each.metric, each.required) for each in done.comparisons][:2] == [("ndcg", True), ("rouge_l", True)]
    asked = [(each.index, each.variant, bool(each.passages)) for each in evaluator.inference.asked]
    assert sorted(asked) == [(0, "", False)] * 3 + [(4, "", False)] * 3


async def test_answers_are_not_asked_before_searches_are_compared_nor_where_those_find_less() -> None:
    evaluator = await indexed()
    evaluator.retrieval.found = None
    (queued,) = await evaluator.all()

    waiting = await evaluator.finish()
    assert (waiting.state, waiting.message) == (
        State.RUNNING,
        f"waits for retrieval evaluation retrieval of {queued.id}",
    )
    evaluator.retrieval.found = replace(FOUND, holds=False, note="the lower bound is -0.1000; it must be above -0.02")
    done = await evaluator.finish()

    assert (done.state, done.verdict) == (State.COMPLETED, Verdict.FAILED)
    assert [each.note for each in done.comparisons] == ["the lower bound is -0.1000; it must be above -0.02"]
    assert evaluator.inference.asked == []
    assert evaluator.retrieval.started_for == [queued.id]


async def test_worse_answers_fail_an_index_version_whose_searches_find_more() -> None:
    evaluator = await indexed()
    for case in cases():
        evaluator.inference.says["", case.question] = case.reference
        evaluator.inference.says["index 4", case.question] = "something else"

    assert (await evaluator.finish()).verdict is Verdict.FAILED


@pytest.mark.parametrize("noticed", ["by the searches", "after the answers"])
async def test_a_collection_that_changed_meanwhile_is_compared_again_by_itself(noticed: str) -> None:
    evaluator = await indexed()
    changed = NoVerdict(COLLECTION_CHANGED, "index version 5 of handbook is live by now, and not 3")
    if noticed == "by the searches":
        evaluator.retrieval.fails = changed
    else:
        evaluator.retrieval.changed = changed

    failed = await evaluator.finish()
    (again,) = [each for each in await evaluator.all() if each.id != failed.id]
    evaluator.retrieval.fails = evaluator.retrieval.changed = None
    done = await evaluator.finish(again)

    assert (failed.state, failed.reason) == (State.FAILED, COLLECTION_CHANGED)
    assert "the next attempt is queued" in failed.message
    assert (again.attempt, done.verdict) == (2, Verdict.PASSED)


async def test_a_baseline_that_answers_from_another_index_version_is_compared_again() -> None:
    evaluator = await indexed()
    evaluator.inference.live_index = 4

    failed = await evaluator.finish()

    assert (failed.state, failed.reason, failed.baseline_index) == (State.FAILED, COLLECTION_CHANGED, 3)
    assert "from index version 4 of handbook, and the searches were compared with 3" in failed.message
    assert [each.attempt for each in await evaluator.all() if each.id != failed.id] == [2]


async def test_what_compares_the_searches_ends_with_the_evaluation() -> None:
    cancelled, failing = await indexed(), await indexed()
    cancelled.retrieval.found = failing.retrieval.found = None
    queued = await cancelled.finish()
    await cancelled.evaluation_crud.cancel(ADA, queued.id, request=request())
    await failing.finish()
    del failing.inference.deployments["acme", "helpdesk"]

    failed = await failing.finish()

    assert failed.state is State.FAILED
    assert (cancelled.retrieval.stopped, failing.retrieval.stopped) == ([queued.id], [failed.id])


async def test_an_evaluation_cancelled_while_its_searches_are_started_leaves_none_behind() -> None:
    evaluator = await indexed()
    (queued,) = await evaluator.all()
    start = evaluator.retrieval.started

    async def cancelled_meanwhile(caller: Caller, evaluation: Evaluation) -> str:
        await evaluator.evaluation_crud.cancel(ADA, queued.id, request=request())
        evaluator.retrieval.stopped.clear()  # there was none yet
        return await start(caller, evaluation)

    evaluator.retrieval.started = cancelled_meanwhile  # type: ignore[method-assign]  # the start, at the wrong moment

    ended = await evaluator.finish()

    assert ended.state is State.CANCELLED
    assert evaluator.retrieval.stopped == [queued.id]


@pytest.mark.parametrize("searched", [{"collection": "faq"}, {"collection": ""}, {"index": 3}])
async def test_a_deployment_that_does_not_search_what_is_live_of_the_collection_is_no_measure(
    searched: dict[str, str],
) -> None:
    evaluator = await indexed()
    live = evaluator.inference.deployments["acme", "helpdesk"]
    evaluator.inference.deployments["acme", "helpdesk"] = replace(live, **searched)  # type: ignore[arg-type]

    failed = await evaluator.finish()

    assert (failed.state, failed.reason) == (State.FAILED, COLLECTION_UNAVAILABLE)
    assert "and not what is live of handbook" in failed.message


async def test_an_answer_on_passages_of_another_index_version_is_a_failure_of_the_candidate() -> None:
    evaluator = await indexed()
    evaluator.inference.searches = 3

    done = await evaluator.finish()

    assert done.verdict is Verdict.FAILED
    assert done.comparisons[1].candidate_failures == 3


async def test_an_event_that_comes_twice_is_evaluated_once_and_other_collections_and_projects_are_not() -> None:
    evaluator = await indexed()

    await evaluator.triggers.index_became_ready(ADA, "handbook", 4)
    await evaluator.triggers.index_became_ready(ADA, "faq", 4)
    await evaluator.triggers.index_became_ready(Caller(project="globex"), "handbook", 4)

    assert [each.candidate for each in await evaluator.all()] == ["handbook@4"]
    assert await evaluator.all("globex") == []


async def test_a_paused_gate_defers_the_newest_index_version() -> None:
    evaluator = await indexed(paused=True)
    await evaluator.triggers.index_became_ready(ADA, "handbook", 6)
    await evaluator.triggers.index_became_ready(ADA, "handbook", 5)
    assert await evaluator.all() == []

    await evaluator.gate_crud.update(ADA, replace(GATE, paused=False), frozenset({"paused"}), write())

    assert [each.candidate for each in await evaluator.all()] == ["handbook@6"]


async def test_an_index_version_is_evaluated_on_request_and_only_of_the_gates_collection() -> None:
    evaluator = await indexed(paused=True)

    started = await evaluator.start(ADA, StartCommand(candidate="handbook@4", gate="index_gate", request=request()))
    with pytest.raises(InvalidInput, match="is not a version of handbook"):
        await evaluator.start(ADA, StartCommand(candidate="faq@4", gate="index_gate", request=request()))

    assert (await evaluator.finish(await stored(evaluator, started))).verdict is Verdict.PASSED


async def stored(evaluator: Evaluator, evaluation: Evaluation) -> Evaluation:
    return await evaluator.evaluations.get(evaluation.project, name_of(evaluation).id)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (replace(GATE, candidate="lora"), "gate.candidate"),
        (replace(GATE, retrieval=None), "gate.retrieval"),
        (replace(GATE, collection="", candidate="lora"), "gate.retrieval"),
        (replace(GATE, retrieval=replace(SEARCHES, metric="rouge_l")), "gate.retrieval.metric"),
        (replace(GATE, retrieval=replace(SEARCHES, depth=99)), "gate.retrieval.depth"),
        (replace(GATE, retrieval=replace(SEARCHES, gain_above=float("nan"))), "gate.retrieval.gain_above"),
        (replace(GATE, require=(Requirement(dataset="sft", metric="rouge_l"),)), "gate.require[0].dataset"),
        (replace(GATE, collection="No slug"), "gate.collection"),
    ],
)
async def test_a_wrong_gate_of_index_versions_is_refused_by_field(wrong: Gate, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await Evaluator().gate_crud.create(ADA, wrong, write())

    assert [violation.field for violation in refused.value.violations] == [field]


async def test_a_suite_of_judged_questions_that_a_gate_requires_is_not_deleted() -> None:
    evaluator = await indexed()

    assert await evaluator.gate_crud.requiring(ADA, "questions") == ["index_gate"]
