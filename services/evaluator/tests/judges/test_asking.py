"""Judges that answer nonsense, are slow, unavailable, or another version than before."""

import asyncio
import json

import pytest

from services.evaluator.tests.builders import ADA
from services.evaluator.tests.judges.harness import GRADER, Judging, judge_of, pairwise, points, prefers
from tidemill_core.errors import (
    Blame,
    DeadlineExceeded,
    DependencyUnavailable,
    InvalidInput,
    NotFound,
    PermissionDenied,
    RateLimited,
    TidemillError,
)
from tidemill_evaluator.errors import NoVerdict
from tidemill_evaluator.judges.ask_judge import Preference
from tidemill_evaluator.judges.domain.form import Material
from tidemill_evaluator.judges.ports import JudgeDeployment

MATERIAL = Material(question="Why?", answer="So.")
BAD = Material(question="Why?", answer="bad")


def unavailable(blame: Blame = Blame.SHARED) -> DependencyUnavailable:
    return DependencyUnavailable("no answer", dependency="inference", blame=blame)


async def test_nonsense_is_asked_again_once_and_then_nothing_is_judged() -> None:
    judging = Judging()
    pinned = await judging.with_judge()
    said = iter(["good!", points(4), "good!", "very good!", points(4)])
    judging.models.says = lambda _: next(said)

    first = await judging.ask.points(ADA, pinned, MATERIAL, name="c1")
    second = await judging.ask.points(ADA, pinned, MATERIAL, name="c2")

    assert (first, second) == (0.75, None)
    assert ["no such object" in form.material for form in judging.models.forms] == [False, True, False, True]


@pytest.mark.parametrize(
    ("fails", "score"),
    [
        ([unavailable(), unavailable()], 1.0),
        ([RateLimited("slow down", retry_after_s=0.0)] * 2, 1.0),
        ([DeadlineExceeded("late")] * 2, 1.0),
        ([DeadlineExceeded("late")] * 3, None),
        ([unavailable(Blame.VARIANT)] * 3, None),
        ([InvalidInput.at("messages", "too long")], None),
    ],
)
async def test_what_is_late_or_refused_is_not_judged_and_what_passes_is_asked_again(
    fails: list[TidemillError], score: float | None
) -> None:
    judging = Judging()
    pinned = await judging.with_judge()
    judging.models.fails = [*fails]

    assert await judging.ask.points(ADA, pinned, MATERIAL, name="c1") == score


@pytest.mark.parametrize("error", [unavailable(), unavailable(Blame.CAPACITY), RateLimited("spent", retry_after_s=0.0)])
async def test_what_is_unavailable_for_all_makes_the_caller_wait(error: TidemillError) -> None:
    judging = Judging()
    pinned = await judging.with_judge()
    judging.models.fails = [error] * 3

    with pytest.raises(type(error)):
        await judging.ask.points(ADA, pinned, MATERIAL, name="c1")


async def test_an_answer_of_another_configuration_ends_what_it_judges_for() -> None:
    judging = Judging()
    pinned = await judging.with_judge()
    judging.models.deployments["acme", "grader"] = JudgeDeployment(
        configuration="g2", model=GRADER.model, deadline_s=30.0
    )

    with pytest.raises(NoVerdict, match="changed since tone@1-") as ended:
        await judging.ask.points(ADA, pinned, MATERIAL, name="c1")
    assert ended.value.reason == "JUDGE_CHANGED"


async def test_a_deployment_that_is_gone_ends_what_it_judges_for() -> None:
    judging = Judging()
    pinned = await judging.with_judge()
    judging.models.fails = [NotFound("gone")]

    with pytest.raises(NoVerdict, match="grader of judge tone does not exist") as ended:
        await judging.ask.points(ADA, pinned, MATERIAL, name="c1")
    assert ended.value.reason == "JUDGE_UNAVAILABLE"


@pytest.mark.parametrize(
    "error", [InvalidInput.at("record_mode", "deployment records NONE"), PermissionDenied("deployment records NONE")]
)
async def test_a_deployment_that_takes_no_judgement_ends_what_it_judges_for_and_says_why(error: TidemillError) -> None:
    judging = Judging()
    pinned = await judging.with_judge()
    judging.models.fails = [error]

    with pytest.raises(NoVerdict, match=r"grader of judge tone refuses to judge: .*deployment records NONE") as ended:
        await judging.ask.points(ADA, pinned, MATERIAL, name="c1")
    assert ended.value.reason == "JUDGE_UNAVAILABLE"


async def test_a_fallback_model_is_another_judge_and_judges_nothing() -> None:
    judging = Judging()
    pinned = await judging.with_judge()
    judging.models.answers_by = "other@1"

    assert await judging.ask.points(ADA, pinned, MATERIAL, name="c1") is None


async def test_a_judgement_of_which_only_the_record_is_left_is_asked_for_again() -> None:
    judging = Judging()
    pinned = await judging.with_judge()

    scores = [await judging.ask.points(ADA, pinned, MATERIAL, name="c1") for _ in range(2)]

    assert scores == [1.0, 1.0]


@pytest.mark.parametrize(
    ("preferred", "score"),
    [("good", Preference(score=1.0)), ("bad", Preference(score=0.0))],
)
async def test_a_pair_is_judged_in_both_orders(preferred: str, score: Preference) -> None:
    judging = Judging()
    pinned = await judging.with_judge(pairwise())
    judging.models.says = prefers(preferred)

    found = await judging.ask.preference(ADA, pinned, Material(question="Why?", answer="good"), BAD, name="c1")

    assert found == score
    assert len(judging.models.forms) == 2


@pytest.mark.parametrize("place", ["A", "B"])
async def test_a_judge_that_prefers_a_place_prefers_no_answer(place: str) -> None:
    judging = Judging()
    pinned = await judging.with_judge(pairwise())
    judging.models.says = lambda _: json.dumps({"preferred": place})

    found = await judging.ask.preference(ADA, pinned, MATERIAL, BAD, name="c1")

    assert found == Preference(score=0.5, consistent=False)


async def test_equal_answers_are_a_tie_that_is_not_asked_about() -> None:
    judging = Judging()
    pinned = await judging.with_judge(pairwise())

    assert await judging.ask.preference(ADA, pinned, MATERIAL, MATERIAL, name="c1") == Preference(score=0.5)
    assert judging.models.forms == []


async def test_no_more_judgements_are_in_flight_than_the_limit() -> None:
    judging = Judging(max_concurrent=2)
    pinned = await judging.with_judge(judge_of())

    await asyncio.gather(*(judging.ask.points(ADA, pinned, MATERIAL, name=str(number)) for number in range(9)))

    assert judging.models.max_in_flight == 2
