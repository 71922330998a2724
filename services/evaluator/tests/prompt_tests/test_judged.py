"""A judge that could score few answers shows nothing of the others."""

import pytest

from services.evaluator.tests.builders import cases
from services.evaluator.tests.prompt_tests.harness import LIVE, NEW, PromptTester, measure
from services.evaluator.tests.prompt_tests.test_resuming import HELPFUL, RecordingJudge


@pytest.mark.parametrize(("unscored", "interval"), [(0, True), (1, False)])
async def test_a_difference_has_an_interval_where_a_judge_scored_most_answers(unscored: int, *, interval: bool) -> None:
    judge = RecordingJudge()
    tester = PromptTester(families=[judge])
    await tester.with_suite()
    tester.is_right("answer@3", 1, 2, 3)
    judge.unscored = {case.reference for case in cases(unscored)}

    done = await tester.finish(await tester.begun(LIVE, NEW, metrics=(HELPFUL.name,)))

    found = measure(done, 1, HELPFUL.name)
    assert (found.pairs, found.difference) == (3 - unscored, 0.0)
    assert (found.difference_low is not None) is interval
