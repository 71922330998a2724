"""Baselines that change or disappear during an evaluation."""

import pytest

from services.evaluator.tests.builders import ADA, BASE, DIGEST, TUNED, cases, name_of, request, write
from services.evaluator.tests.harness import away, ready
from tidemill_core.application import Caller
from tidemill_evaluator.evaluations.domain.comparison import Verdict
from tidemill_evaluator.evaluations.domain.evaluation import EvaluationHasFailed
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.evaluations.ports import Live, Question, Version


async def test_a_baseline_that_changes_meanwhile_fails_the_evaluation_and_another_starts_by_itself() -> None:
    evaluator = await ready(max_concurrent=1)
    (evaluation,) = await evaluator.all()

    async def promote(_: Question) -> None:
        if len(evaluator.inference.asked) == 4:
            evaluator.inference.deployments["acme", "helpdesk"] = Live(digest="d2", model=BASE, deadline_s=60.0)

    evaluator.inference.before = promote
    failed = await evaluator.finish()
    (again,) = [each for each in await evaluator.all() if each.id != evaluation.id]
    done = await evaluator.finish(again)

    assert (failed.state, failed.reason, failed.verdict) == (State.FAILED, "BASELINE_CHANGED", None)
    assert (again.attempt, again.gate, again.candidate) == (2, "gate", TUNED)
    assert (done.verdict, done.baseline_configuration) == (Verdict.PASSED, "d2")


async def test_a_baseline_that_changed_while_the_evaluation_waited_is_noticed_before_anything_is_asked() -> None:
    evaluator = await ready(max_concurrent=1)
    (evaluation,) = await evaluator.all()

    async def leave(_: Question) -> None:
        evaluator.inference.away = away()

    evaluator.inference.before = leave
    await evaluator.finish(evaluation)
    asked = len(evaluator.inference.asked)
    evaluator.inference.before, evaluator.inference.away = None, None
    evaluator.inference.deployments["acme", "helpdesk"] = Live(digest="d2", model=BASE, deadline_s=60.0)

    failed = await evaluator.finish(evaluation)

    assert (failed.reason, len(evaluator.inference.asked)) == ("BASELINE_CHANGED", asked)


async def test_a_baseline_that_changed_and_changed_back_is_noticed_by_its_answers() -> None:
    evaluator = await ready(max_concurrent=1)
    (evaluation,) = await evaluator.all()

    async def change_once(_: Question) -> None:
        digest = "d2" if len(evaluator.inference.asked) == 2 else DIGEST
        evaluator.inference.deployments["acme", "helpdesk"] = Live(digest=digest, model=BASE, deadline_s=60.0)

    evaluator.inference.before = change_once
    failed = await evaluator.finish(evaluation)

    assert (failed.reason, len(evaluator.inference.asked)) == ("BASELINE_CHANGED", 3)


async def test_a_baseline_that_changed_behind_the_last_answer_is_noticed() -> None:
    evaluator = await ready(max_concurrent=1)

    async def promote(_: Question) -> None:
        if len(evaluator.inference.asked) == 11:
            evaluator.inference.deployments["acme", "helpdesk"] = Live(digest="d2", model=BASE, deadline_s=60.0)

    evaluator.inference.before = promote

    (evaluation,) = await evaluator.all()
    assert (await evaluator.finish(evaluation)).reason == "BASELINE_CHANGED"


async def test_a_baseline_that_changes_each_time_is_compared_a_bounded_number_of_times() -> None:
    evaluator = await ready(attempts=2, max_concurrent=1)
    digests = iter(range(1000))

    async def promote(_: Question) -> None:
        evaluator.inference.deployments["acme", "helpdesk"] = Live(
            digest=f"d{next(digests)}", model=BASE, deadline_s=60.0
        )

    evaluator.inference.before = promote
    (first,) = await evaluator.all()
    await evaluator.finish(first)
    (second,) = [each for each in await evaluator.all() if each.id != first.id]
    last = await evaluator.finish(second)

    assert len(await evaluator.all()) == 2
    assert (last.state, last.reason) == (State.FAILED, "BASELINE_CHANGED")
    assert "start another" in last.message


async def test_a_refused_rollout_has_its_candidate_compared_anew_once() -> None:
    evaluator = await ready()
    done = await evaluator.finish()

    for _ in range(2):
        await evaluator.triggers.baseline_changed(ADA, done.id)
    await evaluator.triggers.baseline_changed(ADA, "unknown")
    await evaluator.triggers.baseline_changed(Caller(project="globex"), done.id)

    assert sorted(each.attempt for each in await evaluator.all()) == [1, 2]


async def test_a_candidate_that_cannot_be_loaded_comes_to_no_verdict() -> None:
    for version in (None, Version(ready=False, dataset_version="")):
        evaluator = await ready()
        del evaluator.models.versions[TUNED]
        if version:
            evaluator.models.versions[TUNED] = version

        failed = await evaluator.finish()

        assert (failed.state, failed.reason) == (State.FAILED, "CANDIDATE_UNAVAILABLE")
        assert evaluator.inference.asked == []
        assert [type(event) for event in evaluator.evaluations.published] == [EvaluationHasFailed]


async def test_without_a_deployment_there_is_no_verdict() -> None:
    evaluator = await ready()
    evaluator.inference.deployments.clear()

    assert (await evaluator.finish()).reason == "DEPLOYMENT_UNAVAILABLE"


async def test_without_cases_there_is_no_verdict() -> None:
    for spoil in ("suite", "part", "empty", "elsewhere", "other dataset"):
        evaluator = await ready()
        part = evaluator.datasets.parts["sft@2"]
        match spoil:
            case "suite":
                suite = await evaluator.suites.update(
                    "acme", "truth", lambda each: setattr(each, "deleted", True), request=request()
                )
                assert suite.deleted
            case "part":
                evaluator.datasets.parts.clear()
            case "empty":
                evaluator.publish("sft", 2, 0, part.content)
            case "elsewhere":
                await evaluator.with_held_out(bucket="elsewhere")
            case "other dataset":
                evaluator.models.versions[TUNED] = Version(ready=True, dataset_version="other@1")

        failed = await evaluator.finish()

        assert (spoil, failed.state, failed.reason) == (spoil, State.FAILED, "NO_CASES")


@pytest.mark.parametrize("erased", ["suite", "part"])
async def test_cases_that_are_erased_when_an_evaluation_begins_start_another_with_what_is_left(erased: str) -> None:
    evaluator = await ready()
    part = evaluator.datasets.parts["sft@2"]
    suite = await evaluator.suites.get("acme", "truth")
    content = part.content if erased == "part" else suite.case_set.content
    await evaluator.objects.delete(content.bucket, content.key)

    failed = await evaluator.finish()
    if erased == "part":
        await evaluator.with_held_out(count=part.size - 1)
    else:
        await evaluator.suite_crud.update(ADA, suite, cases(2), frozenset({"cases"}), write())
    (again,) = [each for each in await evaluator.all() if each.id != failed.id]
    done = await evaluator.finish(again)

    assert (failed.state, failed.reason) == (State.FAILED, "DATA_ERASED")
    assert (again.attempt, done.state) == (2, State.COMPLETED)


async def test_a_held_out_split_that_is_rewritten_before_it_is_resumed_starts_another_with_what_is_left() -> None:
    evaluator = await ready(max_concurrent=1)
    (evaluation,) = await evaluator.all()

    async def leave(_: Question) -> None:
        evaluator.inference.away = away()

    evaluator.inference.before = leave
    assert not await evaluator.run(name_of(evaluation))
    evaluator.inference.away, evaluator.inference.before = None, None
    old = evaluator.datasets.parts["sft@2"]
    await evaluator.with_held_out(count=old.size - 1)
    await evaluator.objects.delete(old.content.bucket, old.content.key)

    failed = await evaluator.finish(evaluation)
    (again,) = [each for each in await evaluator.all() if each.id != evaluation.id]
    done = await evaluator.finish(again)

    assert (failed.state, failed.reason) == (State.FAILED, "DATA_ERASED")
    assert "the next attempt is queued" in failed.message
    assert (again.attempt, done.state) == (2, State.COMPLETED)
    assert [each.size for each in done.case_sets if each.dataset] == [old.size - 1]
