"""Two runs are compared by what both have."""

from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, request
from services.evaluator.tests.harness_runs.harness import DAN, Recorder, run_of
from tidemill_core.intervals import share_interval
from tidemill_evaluator.errors import HarnessRunNotFound, HarnessRunsDiffer
from tidemill_evaluator.harness_runs.domain.harness_run import HarnessTool
from tidemill_evaluator.harness_runs.domain.scores import HarnessScore, compare


def test_a_difference_has_newcombes_interval() -> None:
    before, after = (
        HarnessScore(test="t", metric="m", passed=passed, total=total) for passed, total in ((48, 80), (56, 70))
    )

    ((found,), unmatched) = compare([before], [after])

    assert (round(found.difference, 4), round(found.low, 4), round(found.high, 4)) == (0.2, 0.0524, 0.3339)
    assert unmatched == 0


def test_bounds_of_all_that_is_compared_hold_at_once() -> None:
    many = [HarnessScore(test=str(number), metric="m", passed=5, total=10) for number in range(20)]

    (alone, *_), _ = compare(many[:1], many[:1])
    (one_of_many, *_), _ = compare(many, many)

    assert one_of_many.low < alone.low < 0 < alone.high < one_of_many.high


def test_rates_of_nothing_and_everything_have_bounds_within_the_range() -> None:
    none, every = (HarnessScore(test="t", metric="m", passed=passed, total=5) for passed in (0, 5))

    assert (none.low, every.high) == (0.0, 1.0)
    assert (none.high, every.low) == (share_interval(0, 5)[1], share_interval(1, 5)[0])
    ((found,), _) = compare([none], [every])
    assert (found.difference, found.high) == (1.0, 1.0)


async def test_runs_are_compared_by_test_and_metric() -> None:
    recorder = Recorder()
    before = await recorder.recorded(DAN, replace(DAN, metric="mitigation.MitigationBypass"))
    after = await recorder.recorded(replace(DAN, passed=10), replace(DAN, test="encoding.InjectBase64"))

    found = await recorder.crud.compare(ADA, baseline=before.id, candidate=after.id)

    assert [(each.test, each.metric, round(each.difference, 6)) for each in found.comparisons] == [
        ("dan.Dan_11_0", "dan.DAN", 0.2)
    ]
    assert found.unmatched == 2


async def test_what_cannot_be_compared_is_refused_with_what_to_do() -> None:
    recorder = Recorder()
    run = await recorder.recorded()
    other_tool = await recorder.recorded(tool=HarnessTool.LM_EVAL)
    failed = await recorder.record(ADA, run_of(reason="HARNESS_TIMED_OUT"), b"", request=request())
    other_test = await recorder.recorded(replace(DAN, test="encoding.InjectBase64"))

    for candidate, says in (
        (other_tool, "compare runs of one harness"),
        (failed, r"no scores \(HARNESS_TIMED_OUT\)"),
        (other_test, "run both with the same tests"),
    ):
        with pytest.raises(HarnessRunsDiffer, match=says):
            await recorder.crud.compare(ADA, baseline=run.id, candidate=candidate.id)
    with pytest.raises(HarnessRunNotFound):
        await recorder.crud.compare(ADA, baseline=run.id, candidate="none")
