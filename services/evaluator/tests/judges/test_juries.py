"""Several judges as a jury."""

import json
from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, write
from services.evaluator.tests.judges.harness import GRADER, Judging, judge_of, pairwise, points
from tidemill_core.application import Request
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_evaluator.errors import JudgeInUse, NoVerdict
from tidemill_evaluator.judges.domain.form import Form
from tidemill_evaluator.judges.domain.judge import Judge, JudgeInput, JudgeMode
from tidemill_evaluator.judges.ports import JudgeDeployment
from tidemill_evaluator.metrics.domain.metric import PairScores

METRIC = ["judge:jury"]
MEMBERS = ("strict", "kind", "fair")


def jury(*members: str, **fields: object) -> Judge:
    known = {"id": "jury", "project": "acme", "members": members or MEMBERS}
    return Judge(**(known | fields))  # type: ignore[arg-type] # fields of a judge


async def court(*, mode: JudgeMode = JudgeMode.POINTWISE) -> Judging:
    """Return three judges, of which each is known by its rubric, and their jury."""
    judging = Judging()
    for name in MEMBERS:
        await judging.with_judge(judge_of(name, rubric=f"Be {name}.", mode=mode))
    await judging.with_judge(jury(mode=mode))
    return judging


def said_by(**answers: str) -> object:
    def said(form: Form) -> str:
        return next(answer for name, answer in answers.items() if f"Be {name}." in form.instructions)

    return said


async def test_the_median_of_the_members_counts() -> None:
    judging = await court()
    judging.models.says = said_by(strict=points(1), kind=points(5), fair=points(4))  # type: ignore[assignment]

    found = await judging.metrics.scores(ADA, METRIC, await judging.pair("jury"))

    assert found == PairScores(baseline={"judge:jury": 0.75}, candidate={"judge:jury": 0.75})


async def test_the_members_are_asked_at_the_same_time_and_one_that_is_down_is_no_reason_to_ask_on() -> None:
    judging = await court()
    pair = await judging.pair("jury", baseline=None)

    await judging.metrics.scores(ADA, METRIC, pair)
    judging.models.forms.clear()
    judging.models.fails = [DependencyUnavailable("down", dependency="inference")] * 9
    with pytest.raises(DependencyUnavailable):
        await judging.metrics.scores(ADA, METRIC, replace(pair, name="e2/c1"))

    assert (judging.models.max_in_flight, judging.models.in_flight, judging.models.forms) == (3, 0, [])


@pytest.mark.parametrize(("fair", "score"), [(points(2), 0.125), ("nonsense", None)])
async def test_a_jury_judges_where_more_than_half_of_it_does(fair: str, score: float | None) -> None:
    judging = await court()
    judging.models.says = said_by(strict=points(1), kind="nonsense", fair=fair)  # type: ignore[assignment]

    found = await judging.metrics.scores(ADA, METRIC, await judging.pair("jury"))

    assert found.candidate == {"judge:jury": score}


async def test_a_pair_goes_to_the_majority() -> None:
    judging = await court(mode=JudgeMode.PAIRWISE)
    better = {"A": "yes", "B": "yes"}

    def said(form: Form) -> str:
        if "Be strict." in form.instructions:
            return json.dumps({"preferred": "A"})
        first = json.JSONDecoder().raw_decode(form.material)[0]["answers"]["A"]
        return json.dumps({"preferred": "A" if first == better["A"] else "B"})

    judging.models.says = said
    found = await judging.metrics.scores(ADA, METRIC, await judging.pair("jury"))

    assert found.candidate == {"judge:jury": 1.0, "judge:jury:position_bias": 1.0}


async def test_a_jury_is_another_version_where_a_member_is() -> None:
    judging = await court()
    before = await judging.pair("jury")
    await judging.crud.update(ADA, judge_of("kind", rubric="Be kinder."), frozenset({"rubric"}), write())

    with pytest.raises(NoVerdict, match="judge jury was pinned as jury@1-") as ended:
        await judging.metrics.scores(ADA, METRIC, before)
    assert ended.value.reason == "JUDGE_CHANGED"


async def test_a_jury_is_measured_as_a_whole() -> None:
    judging = await court()
    judging.review(*(1.0, 0.0) * 20)

    judge = await judging.measured("jury")

    assert judge.agreement is not None
    assert (judge.agreement.value, judge.agreement.items) == (1.0, 40)
    await judging.metrics.check(ADA, METRIC, gating=True)


async def test_no_member_judges_its_own_answers() -> None:
    judging = await court()
    judging.models.deployments["acme", "grader"] = JudgeDeployment(configuration="g1", model="lora@1", deadline_s=30.0)

    with pytest.raises(NoVerdict, match="judge strict would judge answers of its own model"):
        await judging.metrics.pin(ADA, METRIC, answering=["lora@2"], gating=False)


@pytest.mark.parametrize("member", ["better", "gone", "jury"])
async def test_members_are_judges_of_the_same_mode_that_are_there(member: str) -> None:
    judging = await court()
    await judging.with_judge(pairwise())
    refused = rf"judge.members\[1\]: is {member}, which is no judge of mode POINTWISE"

    with pytest.raises(InvalidInput, match=refused):
        await judging.with_judge(jury("strict", member, id="other"))
    await judging.with_judge(jury("strict", "kind", id="other"))
    with pytest.raises(InvalidInput, match=refused):
        await judging.crud.update(ADA, jury("strict", member, id="other"), frozenset({"members"}), write())


async def test_a_member_keeps_its_mode_and_one_that_is_not_there_any_more_ends_what_the_jury_judges_for() -> None:
    judging = await court()
    with pytest.raises(JudgeInUse, match="judge kind is required by jury"):
        await judging.crud.update(ADA, judge_of("kind", mode=JudgeMode.PAIRWISE), frozenset({"mode"}), write())

    def change(judge: Judge) -> None:
        judge.mode = JudgeMode.PAIRWISE

    await judging.store.update("acme", "kind", change, request=Request.internal())
    with pytest.raises(NoVerdict, match="member kind of jury jury is no judge of mode POINTWISE"):
        await judging.metrics.pin(ADA, METRIC, answering=[], gating=False)


async def test_a_member_is_not_deleted() -> None:
    judging = await court()

    with pytest.raises(JudgeInUse, match="judge kind is required by jury"):
        await judging.crud.delete(ADA, "kind", write())
    await judging.crud.delete(ADA, "jury", write())
    await judging.crud.delete(ADA, "kind", write())


@pytest.mark.parametrize(
    ("given", "reported"),
    [
        (jury("strict"), "judge.members: has 1 entries: name 2 to 9 other judges"),
        (jury("strict", "strict"), "judge.members: names a judge twice, or itself"),
        (jury("strict", "jury"), "judge.members: names a judge twice, or itself"),
        (jury("strict", "No"), r"judge.members\[1\]: is 'No'"),
        (jury(rubric="x"), "judge.rubric: is of a judge alone"),
        (jury(deployment="grader"), "judge.deployment: is of a judge alone"),
        (jury(may_judge_itself=True), "judge.may_judge_itself: is of a judge alone"),
        (jury(reads=(JudgeInput.REFERENCE,)), "judge.reads: is of a judge alone"),
    ],
)
def test_a_jury_that_cannot_judge_is_refused(given: Judge, reported: str) -> None:
    with pytest.raises(InvalidInput, match=reported):
        given.check()


async def test_the_models_of_a_jury_are_those_of_its_members() -> None:
    judging = await court()

    assert await judging.metrics.models_of(ADA, METRIC) == {GRADER.model}
