"""Judges that judge otherwise than when they were measured, behind an unchanged configuration."""

import pytest

from services.evaluator.tests.builders import ADA
from services.evaluator.tests.judges.harness import Judging, material_of, points
from tidemill_evaluator.errors import NoVerdict
from tidemill_evaluator.judges.domain.drift import JudgeDrift
from tidemill_evaluator.judges.domain.form import Form
from tidemill_testkit.clocks import FixedClock

METRIC = ["judge:tone"]
NOW = FixedClock().now()


async def measured() -> Judging:
    judging = Judging()
    await judging.with_judge()
    judging.review(*(1.0, 0.0) * 20)
    await judging.measured()
    judging.models.forms.clear()
    return judging


async def pin(judging: Judging, *, gating: bool = True) -> None:
    await judging.metrics.pin(ADA, METRIC, answering=[], gating=gating)


def turned(form: Form) -> str:
    return points(1 if material_of(form)["answer"] == "yes" else 5)


@pytest.mark.parametrize(("same", "checked", "drifted"), [(10, 10, False), (8, 10, False), (6, 10, True), (0, 1, True)])
def test_a_judge_has_drifted_where_too_few_scores_are_repeated_for_chance(
    same: int, checked: int, *, drifted: bool
) -> None:
    scores = [*[(0.5, 0.75)] * same, *[(0.0, 1.0)] * (checked - same)]

    found = JudgeDrift.of(scores, version="v1", now=NOW)

    assert found == JudgeDrift(checked=checked, repeated_scores=same, drifted=drifted, version="v1", check_time=NOW)


def test_a_score_that_is_not_given_again_is_not_repeated_and_without_scores_nothing_is_known() -> None:
    found = JudgeDrift.of([(0.5, None)] * 10, version="v1", now=NOW)

    assert found is not None
    assert found.drifted
    assert JudgeDrift.of([], version="v1", now=NOW) is None


async def test_a_judge_that_judges_as_before_is_checked_on_fixed_cases_and_decides() -> None:
    judging = await measured()

    await pin(judging)
    first = [form.material for form in judging.models.forms]
    judging.models.forms.clear()
    await pin(judging, gating=False)

    drift = (await judging.store.get("acme", "tone")).drift
    assert drift is not None
    assert (drift.checked, drift.repeated_scores, drift.drifted) == (10, 10, False)
    assert len(set(first)) == 10
    assert judging.models.forms == [], "by hand nothing is checked"


async def test_a_judge_that_drifted_decides_nothing_until_it_is_measured_again() -> None:
    judging = await measured()
    judging.models.says = turned

    for decides in (pin(judging), judging.metrics.check(ADA, METRIC, gating=True)):
        with pytest.raises(NoVerdict, match=r"repeats 0 of 10 of its own judgements.*measure it again") as refused:
            await decides
        assert refused.value.reason == "JUDGE_DRIFTED"

    judging.models.says = lambda form: points(5 if material_of(form)["answer"] == "yes" else 1)
    judging.judged.stored.clear()
    judge = await judging.measured(epoch=2)
    assert judge.drift is None
    await pin(judging)


async def test_answers_that_were_erased_are_no_cases_any_more() -> None:
    judging = await measured()
    judging.records.known.clear()

    await pin(judging)

    assert (await judging.store.get("acme", "tone")).drift is None
    assert judging.models.forms == []
