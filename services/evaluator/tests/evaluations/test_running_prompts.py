"""A gate of prompt versions: both sides answer by the live model, on the same passages."""

from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, BASE, DEADLINE_S, DIGEST, TUNED, cases, passage, request, write
from services.evaluator.tests.harness import HELD_OUT, TRUTH, Evaluator
from tidemill_core.application import Caller, Request
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.errors import (
    BASELINE_CHANGED,
    CANDIDATE_UNAVAILABLE,
    NO_CASES,
    PROMPT_UNAVAILABLE,
    SUPERSEDED,
    VARIABLES_DIFFER,
    CandidateNotReady,
)
from tidemill_evaluator.evaluations.domain.comparison import Verdict
from tidemill_evaluator.evaluations.domain.evaluation import Comparing, Evaluation, EvaluationHasCompleted
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.evaluations.messages import event_message
from tidemill_evaluator.evaluations.ports import Live, PromptVersions, Question
from tidemill_evaluator.evaluations.start_evaluation import StartCommand
from tidemill_evaluator.gates.domain.gate import Gate, Requirement, RetrievalRequirement
from tidemill_evaluator.suites.domain.cases import Case, Context
from tidemill_evaluator.suites.domain.suite import Suite

GATE = Gate(id="prompt_gate", deployment="helpdesk", candidate_prompt="answer", require=(TRUTH,), project="acme")
LIVE = Live(digest=DIGEST, model=BASE, deadline_s=DEADLINE_S, prompt="answer@1")


def versions(latest: int, **schemas: str) -> PromptVersions:
    return PromptVersions(
        latest=latest, variables={number: schemas.get(f"v{number}", "") for number in range(1, latest + 1)}
    )


async def prompted(*require: Requirement, paused: bool = False, live: Live = LIVE) -> Evaluator:
    """Return an evaluator whose gate has version 2 of a prompt as its candidate, by which every answer is right."""
    evaluator = Evaluator()
    evaluator.inference.deployments["acme", "helpdesk"] = live
    evaluator.inference.prompts["answer"] = versions(2)
    await evaluator.with_suite()
    await evaluator.gate_crud.create(ADA, replace(GATE, require=require or (TRUTH,), paused=paused), write())
    for prefix in ("", "held out: "):
        for case in cases(prefix=prefix):
            evaluator.inference.says["answer@2", case.question] = case.reference
            evaluator.inference.finds[case.question] = [passage()]
    await evaluator.triggers.prompt_version_created(ADA, "answer", 2)
    return evaluator


async def test_a_prompt_version_passes_by_answers_of_the_live_model_on_the_same_passages() -> None:
    evaluator = await prompted()

    done = await evaluator.finish()

    assert (done.state, done.verdict, done.candidate, done.baseline) == (
        State.COMPLETED,
        Verdict.PASSED,
        "answer@2",
        BASE,
    )
    assert (done.baseline_prompt, done.ordinal) == ("answer@1", 1)
    asked = [(each.prompt, each.variant, bool(each.passages)) for each in evaluator.inference.asked]
    assert sorted(asked) == [("", "", False)] * 3 + [("answer@2", "", True)] * 3
    assert done.finish_time
    _, sent = event_message(done, EvaluationHasCompleted(occurred_at=done.finish_time), 2)
    assert (sent.prompt, sent.candidate) == ("answer", "answer@2")  # type: ignore[attr-defined] # the event's own


async def test_versions_of_a_prompt_are_counted_with_the_models_candidates_and_a_model_of_its_name_apart() -> None:
    evaluator = await prompted()
    await evaluator.finish()
    evaluator.models.versions["answer@2"] = evaluator.models.versions[TUNED]
    await evaluator.with_gate(TRUTH, name="model_gate", candidate="answer")
    await evaluator.register("answer@2")
    (of_model,) = [each for each in await evaluator.all() if each.gate == "model_gate"]

    assert (await evaluator.finish(of_model)).ordinal == 2


async def test_held_out_cases_are_of_what_the_live_model_was_trained_on_else_of_the_newest_version() -> None:
    tuned = await prompted(HELD_OUT, live=replace(LIVE, model=TUNED))
    plain = await prompted(HELD_OUT)
    for evaluator in (tuned, plain):
        await evaluator.with_held_out(version="sft@2")
        await evaluator.with_held_out(version="sft@3")

    found = [(await each.finish()).dataset_version for each in (tuned, plain)]

    assert found == ["sft@2", "sft@3"]


async def test_without_a_version_of_the_dataset_there_are_no_cases() -> None:
    failed = await (await prompted(HELD_OUT)).finish()

    assert (failed.state, failed.reason) == (State.FAILED, NO_CASES)


async def test_a_newer_version_supersedes_an_older_one_that_is_asked_or_waits_and_is_evaluated_itself() -> None:
    evaluator = await prompted()
    (older,) = await evaluator.all()

    async def comes_meanwhile(_: Question) -> None:
        evaluator.inference.prompts["answer"] = versions(3)

    evaluator.inference.before = comes_meanwhile
    running = await evaluator.finish()
    await evaluator.triggers.prompt_version_created(ADA, "answer", 3)
    await evaluator.triggers.baseline_changed(ADA, older.id)
    again, newest = [each for each in await evaluator.all() if each.id != older.id]
    if again.candidate == "answer@3":
        again, newest = newest, again
    evaluator.inference.asked.clear()
    waiting, done = await evaluator.finish(again), await evaluator.finish(newest)

    assert [(each.state, each.reason) for each in (running, waiting)] == [(State.FAILED, SUPERSEDED)] * 2
    assert "answer@3 is newer" in running.message
    assert {each.prompt for each in evaluator.inference.asked} == {"", "answer@3"}
    assert done.state is State.COMPLETED


async def test_a_newer_version_that_its_gate_refused_supersedes_none() -> None:
    evaluator = await prompted()
    (older,) = await evaluator.all()
    evaluator.inference.prompts["answer"] = versions(3)
    await evaluator.triggers.prompt_version_created(ADA, "answer", 3)
    (newest,) = [each for each in await evaluator.all() if each.id != older.id]

    def refuse(stored: Evaluation) -> None:
        stored.state, stored.verdict = State.COMPLETED, Verdict.FAILED

    await evaluator.evaluations.update("acme", newest.id, refuse, request=Request.internal())

    assert (await evaluator.finish(older)).verdict is Verdict.PASSED


async def test_a_newer_version_that_is_evaluated_again_was_not_refused_by_that() -> None:
    evaluator = await prompted()
    (older,) = await evaluator.all()
    evaluator.inference.prompts["answer"] = versions(3)
    again = Comparing(
        deployment="helpdesk", candidate="answer@3", prompt="answer", gate="prompt_gate", reevaluates="e1"
    )
    done = Evaluation.queued("acme", again, origin="prompt_gate/reevaluation:then")
    done.state, done.verdict = State.COMPLETED, Verdict.NOT_WORSE
    await evaluator.evaluations.add(done, request=request("again"))

    assert (await evaluator.finish(older)).reason == SUPERSEDED


async def test_a_prompt_that_is_made_anew_under_its_name_is_compared() -> None:
    evaluator = await prompted()

    await evaluator.triggers.prompt_version_created(ADA, "answer", 2, digest="another")

    assert [each.candidate for each in await evaluator.all()] == ["answer@2", "answer@2"]


async def test_an_older_version_that_a_person_asks_for_is_compared_all_the_same() -> None:
    evaluator = await prompted()
    evaluator.inference.prompts["answer"] = versions(3)
    command = StartCommand(gate="prompt_gate", candidate="answer@2", request=request("r"))

    assert (await evaluator.finish(await evaluator.start(ADA, command))).verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("live", "reason", "text"),
    [
        (replace(LIVE, prompt="other@1"), PROMPT_UNAVAILABLE, "answers by prompt other@1, and not by answer"),
        (replace(LIVE, prompt="answer@2"), CANDIDATE_UNAVAILABLE, "answers already"),
    ],
)
async def test_a_deployment_that_answers_by_another_prompt_or_by_the_candidate_compares_nothing(
    live: Live, reason: str, text: str
) -> None:
    failed = await (await prompted(live=live)).finish()

    assert (failed.state, failed.reason) == (State.FAILED, reason)
    assert text in failed.message


async def test_another_live_configuration_meanwhile_is_compared_with_by_the_next_attempt() -> None:
    evaluator = await prompted()

    async def configured(_: Question) -> None:
        evaluator.inference.deployments["acme", "helpdesk"] = replace(LIVE, digest="d2")

    evaluator.inference.before = configured

    failed = await evaluator.finish()

    assert (failed.reason, [each.attempt for each in await evaluator.all() if each.id != failed.id]) == (
        BASELINE_CHANGED,
        [2],
    )


@pytest.mark.parametrize("found", [None, versions(1)])
async def test_a_prompt_that_is_gone_has_no_verdict(found: PromptVersions | None) -> None:
    evaluator = await prompted()
    del evaluator.inference.prompts["answer"]
    if found:
        evaluator.inference.prompts["answer"] = found

    failed = await evaluator.finish()

    assert (failed.state, failed.reason) == (State.FAILED, CANDIDATE_UNAVAILABLE)


@pytest.mark.parametrize("with_variables", [True, False])
async def test_other_variables_are_refused_where_cases_have_some(*, with_variables: bool) -> None:
    evaluator = await prompted(Requirement(suite="tones", metric="rouge_l", gain_above=-1.0))
    context = Context(variables={"tone": "short"} if with_variables else {})
    asked = [Case(id=case.id, question=case.question, reference="x", context=context) for case in cases()]
    await evaluator.suite_crud.create(ADA, Suite(id="tones", project="acme"), asked, write())
    evaluator.inference.prompts["answer"] = versions(2, v2='{"properties": {"tone": {}}}')

    ended = await evaluator.finish()

    if with_variables:
        assert (ended.state, ended.reason) == (State.FAILED, VARIABLES_DIFFER)
        assert "3 cases have variables" in ended.message
    else:
        assert ended.state is State.COMPLETED


async def test_an_event_that_comes_twice_is_evaluated_once_and_other_prompts_and_projects_are_not() -> None:
    evaluator = await prompted()

    await evaluator.triggers.prompt_version_created(ADA, "answer", 2)
    await evaluator.triggers.prompt_version_created(ADA, "other", 2)
    await evaluator.triggers.prompt_version_created(Caller(project="globex"), "answer", 2)

    assert [each.candidate for each in await evaluator.all()] == ["answer@2"]
    assert await evaluator.all("globex") == []


async def test_a_paused_gate_keeps_the_newest_version_for_its_resumption() -> None:
    evaluator = await prompted(paused=True)
    await evaluator.triggers.prompt_version_created(ADA, "answer", 4)
    await evaluator.triggers.prompt_version_created(ADA, "answer", 3)
    assert await evaluator.all() == []

    await evaluator.gate_crud.update(ADA, replace(GATE, paused=False), frozenset({"paused"}), write())

    assert [each.candidate for each in await evaluator.all()] == ["answer@4"]


async def test_a_person_compares_a_prompt_version_on_suites_and_one_that_is_not_there_is_refused() -> None:
    evaluator = await prompted()
    by_hand = StartCommand(
        deployment="helpdesk", suites=["truth"], candidate_prompt="answer@2", request=request("by hand")
    )

    done = await evaluator.finish(await evaluator.start(ADA, by_hand))

    assert (done.verdict, done.comparing.prompt, done.baseline_prompt) == (Verdict.NONE, "answer", "answer@1")
    with pytest.raises(CandidateNotReady):
        await evaluator.start(ADA, replace(by_hand, candidate_prompt="answer@3", request=request("r2")))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"candidate": "lora@1"}, "candidate_prompt"),
        ({"baseline": "lora@1"}, "baseline"),
        ({"gate": "prompt_gate", "deployment": "", "suites": ()}, "candidate_prompt"),
        ({"candidate_prompt": "answer"}, "candidate_prompt"),
    ],
)
async def test_a_command_that_says_two_things_is_refused(changes: dict[str, str], field: str) -> None:
    evaluator = await prompted()
    command = StartCommand(
        deployment="helpdesk", suites=["truth"], candidate_prompt="answer@2", request=request("by hand")
    )

    with pytest.raises(InvalidInput) as refused:
        await evaluator.start(ADA, replace(command, **changes))  # type: ignore[arg-type] # the test says what
    assert field in {each.field for each in refused.value.violations}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"candidate": "lora"}, "gate.candidate"),
        ({"collection": "handbook"}, "gate.candidate_prompt"),
        ({"max_size_ratio": 0.5}, "gate.max_size_ratio"),
        ({"retrieval": RetrievalRequirement(suite="truth", metric="ndcg")}, "gate.retrieval"),
        ({"candidate_prompt": "no slug!"}, "gate.candidate_prompt"),
    ],
)
async def test_a_gate_of_a_prompt_follows_nothing_else(changes: dict[str, str], field: str) -> None:
    evaluator = Evaluator()

    with pytest.raises(InvalidInput) as refused:
        await evaluator.gate_crud.create(ADA, replace(GATE, **changes), write())  # type: ignore[arg-type] # see above
    assert field in {each.field for each in refused.value.violations}
