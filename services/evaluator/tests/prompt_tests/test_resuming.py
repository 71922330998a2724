"""A worker that resumes a test may find other passages, and get other answers, than the one before."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from services.evaluator.tests.builders import cases, passage
from services.evaluator.tests.prompt_tests.harness import LARGER, LIVE, NEW, PromptTester, measure
from tidemill_core.application import Caller, Requeue
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.metrics.domain.metric import Metric, Pair, PairScores, Scored

HELPFUL = Metric(name="judge:helpful", source="a judge", unreliable="JUDGE_UNRELIABLE")
LAST = cases(3)[2].question


@dataclass
class RecordingJudge:
    """A `MetricFamily` of one judge, which says by what names it was asked of whose answer."""

    names: Sequence[str] = (HELPFUL.name,)
    asked: list[tuple[str, str]] = field(default_factory=list)
    unscored: Collection[str] = ()
    """Answers that it has no score of."""

    def find(self, name: str) -> Metric | None:
        return HELPFUL if name == HELPFUL.name else None

    async def check(self, _caller: Caller, _names: Collection[str], *, gating: bool) -> None:
        assert not gating

    async def pin(
        self, _caller: Caller, _names: Collection[str], *, answering: Collection[str], gating: bool
    ) -> Mapping[str, str]:
        assert answering
        assert not gating
        return {}

    async def scores(self, _caller: Caller, names: Collection[str], pair: Pair) -> PairScores:
        assert pair.candidate is not None
        self.asked.append((pair.name, pair.candidate.text))
        score = None if pair.candidate.text in self.unscored else 0.5
        return PairScores(candidate=dict[str, Scored].fromkeys(names, score))


@pytest.mark.parametrize("failed_first", [False, True])
async def test_a_worker_that_resumes_and_finds_other_passages_asks_on_these(*, failed_first: bool) -> None:
    tester = PromptTester()
    await tester.with_suite()
    tester.inference.finds = (passage(),)
    tester.is_right("answer@3", 1, 2, 3)
    if failed_first:
        tester.inference.says["helpdesk", LAST] = InvalidInput.at(field="content", text="fails")
    tester.inference.says[LARGER.model, LAST] = DependencyUnavailable("no answer", dependency="inference")
    begun = await tester.begun(LIVE, NEW, LARGER)

    assert await tester.work(begun) == Requeue()
    del tester.inference.says[LARGER.model, LAST]
    tester.inference.says["helpdesk", LAST] = "it answers now"
    tester.inference.finds = (replace(passage(), text="ingested meanwhile"),)
    done = await tester.finish(begun, epoch=2)

    assert done.state is State.COMPLETED
    assert [(each.answered, each.failure) for each in done.figures] == [(3, "")] * 3
    assert measure(done, 1, "rouge_l").mean == 1.0


async def test_a_worker_that_resumes_asks_judges_anew() -> None:
    judge = RecordingJudge()
    tester = PromptTester(families=[judge])
    await tester.with_suite()
    tester.inference.says["answer@3", LAST] = DependencyUnavailable("no answer", dependency="inference")
    begun = await tester.begun(LIVE, NEW, metrics=(HELPFUL.name,))

    assert await tester.work(begun) == Requeue()
    del tester.inference.says["answer@3", LAST]
    await tester.finish(begun, epoch=2)

    assert len(judge.asked) == 7, "the first variant's answer to the last case is judged twice"
    assert len({name for name, _ in judge.asked}) == 7, "a judge's request with this answer may be another one"
