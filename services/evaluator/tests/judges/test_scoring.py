"""Judges that score answers for trainings: which may, and what they are asked."""

import asyncio
from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, request
from services.evaluator.tests.judges.harness import GRADER, Judging, judge_of, material_of, pairwise, points
from tidemill_core.errors import Blame, DependencyTimedOut, DependencyUnavailable, InvalidInput
from tidemill_evaluator.errors import NoVerdict
from tidemill_evaluator.judges.domain.form import Material
from tidemill_evaluator.judges.domain.judge import Judge, JudgeInput
from tidemill_evaluator.judges.ports import JudgeAnswer, PinnedJudge

ANSWER = Material(question="Why?", answer="So.", earlier=[("user", "Hello.")], reference="Because.")
BASE = "smollm2@1"


async def measured(judge: Judge | None = None) -> Judging:
    """Return judges of which one agrees with people."""
    judging = Judging()
    await judging.with_judge(judge)
    judging.review(*(1.0, 0.0) * 20)
    await judging.measured((judge or judge_of()).id)
    judging.models.forms.clear()
    return judging


async def pinned_in(judging: Judging, *, name: str = "tone", model: str = BASE) -> PinnedJudge:
    return await judging.score.pin(ADA, name, models=[model])


async def test_an_answer_is_scored_by_the_version_that_was_pinned_and_asked_anew_each_time() -> None:
    judging = await measured(judge_of(reads=(JudgeInput.REFERENCE,)))
    pinned = await pinned_in(judging)
    judging.models.says = lambda _: points(4)

    scores = [await judging.score.score(ADA, "tone", version=pinned.version, material=ANSWER) for _ in range(2)]

    assert (scores, len(pinned.judging)) == ([0.75, 0.75], 1)
    assert [material_of(form) for form in judging.models.forms] == [
        {
            "earlier": [{"role": "user", "text": "Hello."}],
            "question": "Why?",
            "reference": "Because.",
            "answer": "So.",
        }
    ] * 2


@pytest.mark.parametrize("blame", [Blame.SHARED, Blame.VARIANT])
async def test_nonsense_has_no_score_and_what_is_down_is_raised_also_the_judges_own_model(blame: Blame) -> None:
    judging = await measured()
    version = (await pinned_in(judging)).version
    judging.models.says = lambda _: "a fine answer"
    assert await judging.score.score(ADA, "tone", version=version, material=ANSWER) is None

    judging.models.fails = [DependencyUnavailable("down", dependency="inference", blame=blame)] * 3

    with pytest.raises(DependencyUnavailable):
        await judging.score.score(ADA, "tone", version=version, material=ANSWER)


async def test_a_model_that_is_slow_about_an_answer_leaves_it_without_a_score() -> None:
    judging = await measured()
    version = (await pinned_in(judging)).version
    judging.models.fails = [DependencyTimedOut("slow", dependency="model grader@1", blame=Blame.VARIANT)] * 3

    assert await judging.score.score(ADA, "tone", version=version, material=ANSWER) is None


async def test_a_silent_judge_has_no_score_before_its_caller_stops_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    judging = await measured()
    version = (await pinned_in(judging)).version

    async def silence(*_given: object, **_more: object) -> JudgeAnswer:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(judging.models, "ask", silence)

    async with asyncio.timeout(10):
        score = await judging.score.score(ADA, "tone", version=version, material=ANSWER, within_s=0.05)

    assert score is None


@pytest.mark.parametrize(
    ("judge", "model", "reason"),
    [
        (pairwise(), BASE, "JUDGE_UNAVAILABLE"),
        (judge_of(reads=(JudgeInput.PASSAGES,)), BASE, "JUDGE_UNAVAILABLE"),
        (judge_of(), BASE, "JUDGE_UNMEASURED"),
        (judge_of(), "grader@7", "JUDGES_ITSELF"),
    ],
    ids=["compares", "reads passages", "unmeasured", "its own model"],
)
async def test_a_judge_that_may_not_decide_rewards_nothing(judge: Judge, model: str, reason: str) -> None:
    judging = Judging()
    await judging.with_judge(judge)

    with pytest.raises(NoVerdict) as refused:
        await pinned_in(judging, name=judge.id, model=model)

    assert refused.value.reason == reason


async def test_a_judge_below_the_agreement_that_it_was_declared_with_is_refused_whenever_it_is_asked() -> None:
    judging = await measured()
    version = (await pinned_in(judging)).version

    def stricter(judge: Judge) -> None:
        assert judge.agreement
        judge.agreement = replace(judge.agreement, low=0.1)

    await judging.store.update("acme", "tone", stricter, request=request())

    for call in (pinned_in(judging), judging.score.score(ADA, "tone", version=version, material=ANSWER)):
        with pytest.raises(NoVerdict, match=r"lower bound is 0\.10") as refused:
            await call
        assert refused.value.reason == "JUDGE_DISAGREES"
    assert judging.models.forms == []


@pytest.mark.parametrize("gone", [False, True])
async def test_a_judge_that_changed_or_went_since_it_was_pinned_is_refused(gone: bool) -> None:  # noqa: FBT001 - a case
    judging = await measured()
    version = (await pinned_in(judging)).version
    if gone:
        del judging.models.deployments["acme", "grader"]
    else:
        judging.models.deployments["acme", "grader"] = replace(GRADER, configuration="g2")

    with pytest.raises(NoVerdict) as refused:
        await judging.score.score(ADA, "tone", version=version, material=ANSWER)

    assert refused.value.reason == ("JUDGE_UNAVAILABLE" if gone else "JUDGE_CHANGED")


async def test_a_judge_of_another_project_is_none_of_this_one() -> None:
    judging = await measured()

    with pytest.raises(NoVerdict, match="judge tone does not exist in this project"):
        await judging.score.pin(replace(ADA, project="globex"), "tone", models=[BASE])


@pytest.mark.parametrize(
    ("material", "message"),
    [
        (replace(ANSWER, question=" "), "question: is empty"),
        (replace(ANSWER, reference="x" * 991), "texts with 1004 characters; the limit is 1000"),
    ],
)
async def test_texts_that_no_judge_is_asked_about_are_refused_by_field_and_limit(
    material: Material, message: str
) -> None:
    judging = await measured()
    version = (await pinned_in(judging)).version

    with pytest.raises(InvalidInput) as refused:
        await judging.score.score(ADA, "tone", version=version, material=material)

    assert message in refused.value.message
    assert judging.models.forms == []
