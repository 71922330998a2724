"""Judges as resources: what is declared, and what a version is."""

import pytest

from services.evaluator.tests.builders import ADA, write
from services.evaluator.tests.judges.harness import Judging, judge_of
from tidemill.evaluator.v1 import judge_pb2 as pb
from tidemill_core.errors import AlreadyExists, Conflict, InvalidInput
from tidemill_evaluator.errors import JudgeInUse, JudgeNotFound
from tidemill_evaluator.judges.domain.judge import Judge, JudgeCriterion, JudgeInput, JudgeMode
from tidemill_evaluator.judges.messages import judge_message
from tidemill_evaluator.judges.messages import judge_of as judge_of_message
from tidemill_testkit.mapping import unsent


@pytest.mark.parametrize(
    ("fields", "reported"),
    [
        ({"rubric": " "}, r"judge.rubric: is empty"),
        ({"rubric": "x" * 8001}, r"judge.rubric: has 8001 characters; the limit is 8000"),
        ({"deployment": "No"}, r"judge.deployment: is 'No'"),
        ({"id": "No"}, r"judge.id: is 'No'"),
        ({"reads": (JudgeInput.PASSAGES,) * 2}, r"judge.reads: names an input twice"),
        ({"criteria": (JudgeCriterion(name="a"),) * 11}, r"judge.criteria: has 11 entries; the limit is 10"),
        ({"criteria": (JudgeCriterion(name="a"),) * 2}, r"judge.criteria\[1\].name: is a duplicate"),
        ({"criteria": (JudgeCriterion(name="a", scale=11),)}, r"judge.criteria\[0\].scale: is 11: send 2 to 10"),
        ({"criteria": (JudgeCriterion(name="a", scale=1),)}, r"judge.criteria\[0\].scale: is 1: send 2 to 10"),
        ({"criteria": (JudgeCriterion(name="A b"),)}, r"judge.criteria\[0\].name: is 'A b'"),
        (
            {"criteria": (JudgeCriterion(name="a", description="x" * 1001),)},
            r"judge.criteria\[0\].description: has 1001 characters; the limit is 1000",
        ),
        (
            {"mode": JudgeMode.PAIRWISE, "criteria": (JudgeCriterion(name="a"),)},
            r"judge.criteria: are for POINTWISE judges",
        ),
    ],
)
async def test_a_judge_that_cannot_judge_is_refused_by_field_and_value(
    fields: dict[str, object], reported: str
) -> None:
    judging = Judging()

    with pytest.raises(InvalidInput, match=reported):
        await judging.crud.create(ADA, judge_of(**fields), write())  # type: ignore[arg-type] # fields of a judge


async def test_each_change_of_what_it_judges_by_is_a_version_and_no_other_change_is() -> None:
    judging = Judging()
    created = await judging.crud.create(ADA, judge_of(), write())
    labelled = await judging.crud.update(ADA, judge_of(labels={"a": "b"}), frozenset({"labels"}), write())
    allowed = await judging.crud.update(ADA, judge_of(may_judge_itself=True), frozenset({"may_judge_itself"}), write())
    stricter = await judging.crud.update(ADA, judge_of(rubric="Is it true?"), frozenset({"rubric"}), write())

    assert [each.number for each in (created, labelled, allowed, stricter)] == [1, 1, 1, 2]
    assert created.version_with("g1") == allowed.version_with("g1") == "tone@1-" + created.version_with("g1")[-12:]
    assert len({created.version_with("g1"), created.version_with("g2"), stricter.version_with("g1")}) == 3


async def test_a_deleted_judge_whose_name_is_taken_again_counts_on() -> None:
    judging = Judging()
    await judging.crud.create(ADA, judge_of(), write())
    with pytest.raises(AlreadyExists):
        await judging.crud.create(ADA, judge_of(), write())
    await judging.crud.delete(ADA, "tone", write())
    with pytest.raises(JudgeNotFound):
        await judging.crud.get(ADA, "tone")

    again = await judging.crud.create(ADA, judge_of(rubric="Is it true?"), write())

    assert (again.number, again.rubric) == (2, "Is it true?")


async def test_a_judge_that_a_gate_requires_is_not_deleted() -> None:
    judging = Judging()
    await judging.crud.create(ADA, judge_of(), write())
    judging.required["judge:tone"] = ["gate"]

    with pytest.raises(JudgeInUse, match="required by gate"):
        await judging.crud.delete(ADA, "tone", write())


async def test_a_stale_change_and_a_preview_change_nothing() -> None:
    judging = Judging()
    await judging.crud.create(ADA, judge_of(), write())
    with pytest.raises(Conflict):
        await judging.crud.update(ADA, judge_of(rubric="x"), frozenset({"rubric"}), write(etag="9"))
    preview = await judging.crud.update(ADA, judge_of(rubric="x"), frozenset({"rubric"}), write(validate_only=True))

    stored = await judging.crud.get(ADA, "tone")
    assert (preview.number, stored.number) == (2, 1)


def test_a_judge_of_a_request_is_the_one_that_was_sent() -> None:
    judge = judge_of(
        labels={"a": "b"},
        mode=JudgeMode.POINTWISE,
        criteria=(JudgeCriterion(name="tone", description="5 is warm", scale=7),),
        reads=(JudgeInput.REFERENCE, JudgeInput.PASSAGES),
        may_judge_itself=True,
    )

    assert judge_of_message(judge_message(judge), "acme") == judge
    assert judge_of_message(pb.Judge(id="tone"), "acme").mode is JudgeMode.POINTWISE, "by default"
    judge.number = 3
    assert judge_message(judge).version == 3
    assert unsent(pb.Judge, Judge) == {"number"}
