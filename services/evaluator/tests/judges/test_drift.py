"""Judges that judge otherwise than when they were measured, behind an unchanged configuration."""

from collections import Counter
from itertools import product
from math import comb

import pytest

from services.evaluator.tests.builders import ADA
from services.evaluator.tests.judges.harness import Judging, judge_of, material_of, points
from tidemill_core.errors import DeadlineExceeded
from tidemill_evaluator.errors import NoVerdict
from tidemill_evaluator.judges.domain.drift import LEVEL, JudgeDrift, Rejudged, chance_of_fewer
from tidemill_evaluator.judges.domain.form import Form
from tidemill_evaluator.judges.watch_drift import VALID_FOR
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


def scores(repeated: int, *, then: int, checked: int = 20) -> list[Rejudged]:
    """Return scores of which so many were repeated in the measurement, and so many now."""
    return [Rejudged(0.5, 0.75 if n < then else 1.0, 0.3 if n < repeated else 1.0) for n in range(checked)]


@pytest.mark.parametrize(
    ("repeated", "then", "checked", "drifted"),
    [
        (20, 20, 20, False),
        (12, 20, 20, False),
        (11, 20, 20, True),
        (9, 16, 20, False),
        (2, 10, 10, True),
        (0, 0, 20, False),
    ],
)
def test_a_judge_has_drifted_where_it_repeats_fewer_scores_than_when_it_was_measured(
    repeated: int, then: int, checked: int, *, drifted: bool
) -> None:
    found = JudgeDrift.of(scores(repeated, then=then, checked=checked), version="v1", now=NOW)

    assert found == JudgeDrift(
        checked=checked,
        repeated_scores=repeated,
        repeated_when_measured=then,
        drifted=drifted,
        version="v1",
        check_time=NOW,
    )


def test_of_few_answers_nothing_is_said_and_a_point_of_five_is_repeated_in_whatever_floats() -> None:
    assert JudgeDrift.of(scores(0, then=7, checked=7), version="v1", now=NOW) is None
    found = JudgeDrift.of([Rejudged(0.3, 0.55, 0.55)] * 8, version="v1", now=NOW)
    assert found is not None
    assert (found.repeated_scores, found.repeated_when_measured) == (8, 8)


@pytest.mark.parametrize("count", [8, 10, 20, 50])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.9, 0.99])
def test_a_judge_that_did_not_change_is_called_drifted_once_in_a_thousand_checks_at_most(
    count: int, share: float
) -> None:
    of = [comb(count, each) * share**each * (1 - share) ** (count - each) for each in range(count + 1)]
    alarms = sum(
        of[then] * of[now]
        for then, now in product(range(count + 1), repeat=2)
        if chance_of_fewer(now, then, of=count) < LEVEL
    )

    assert alarms < LEVEL


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
    judge = await judging.measured(epoch=2)
    assert judge.drift is None
    await pin(judging)


async def test_a_judge_that_drifted_is_measured_as_what_it_is_now() -> None:
    judging = await measured()
    judging.models.says = turned

    judge = await judging.measured(epoch=2)

    assert judge.agreement is not None
    assert judge.agreement.value == -1.0
    with pytest.raises(NoVerdict) as refused:
        await judging.metrics.check(ADA, METRIC, gating=True)
    assert refused.value.reason == "JUDGE_DISAGREES"


@pytest.mark.parametrize("says", ["late", "nonsense"])
async def test_a_judge_that_does_not_judge_ends_the_evaluation_and_has_not_drifted(says: str) -> None:
    judging = await measured()
    well = judging.models.says
    if says == "late":
        judging.models.fails = [DeadlineExceeded("late") for _ in range(100)]
    judging.models.says = lambda _: "very good!"

    with pytest.raises(NoVerdict, match="did not judge 10 of 10 answers") as refused:
        await pin(judging)

    assert refused.value.reason == "JUDGE_UNRELIABLE"
    assert (await judging.store.get("acme", "tone")).drift is None
    judging.models.says, judging.models.fails = well, []
    await pin(judging)


async def test_a_judge_whose_scores_vary_as_they_did_has_not_drifted() -> None:
    judging = Judging()
    await judging.with_judge(judge_of(min_agreement=0.01))
    judging.review(*(1.0, 0.0) * 20)
    asked = Counter[str]()

    def varies(form: Form) -> str:
        answer = str(material_of(form)["answer"])
        asked[answer] += 1
        return points((5 if answer == "yes" else 1) + (asked[answer] % 2) * (-2 if answer == "yes" else 2))

    judging.models.says = varies
    await judging.measured()

    await pin(judging)

    drift = (await judging.store.get("acme", "tone")).drift
    assert drift is not None
    assert drift.repeated_scores < drift.checked
    assert not drift.drifted


async def test_a_check_of_just_now_is_not_repeated() -> None:
    judging = await measured()
    await pin(judging)
    judging.models.forms.clear()

    await pin(judging)
    assert judging.models.forms == []
    judging.clock.advance(VALID_FOR)
    await pin(judging)
    assert len(judging.models.forms) == 10


async def test_answers_that_were_erased_are_no_cases_any_more() -> None:
    judging = await measured()
    judging.records.known.clear()

    await pin(judging)

    assert (await judging.store.get("acme", "tone")).drift is None
    assert judging.models.forms == []
