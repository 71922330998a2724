"""What a run's judge is asked, how often, and what becomes of answers that it does not judge."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.trainer.tests.training.fake_judges import FakeJudges
from services.trainer.tests.training.fakes import dataset_version, plan_settings
from tidemill_core.errors import DependencyTimedOut, DependencyUnavailable, InvalidInput, RateLimited, TidemillError
from tidemill_testkit.clocks import NOON
from tidemill_trainer.errors import TrainingFailed
from tidemill_trainer.training.domain.guidance import Guidance, PinnedJudge
from tidemill_trainer.training.domain.plan import TrainingPlan
from tidemill_trainer.training.domain.progress import Progress
from tidemill_trainer.training.domain.rewards import JudgeReward, Reward
from tidemill_trainer.training.domain.run import TrainingRun
from tidemill_trainer.training.judge_answers import AnswerJudging, JudgeAnswers, JudgingLimits
from tidemill_trainer.training.ports import Judged, JudgedAnswer, RunFolder

DOWN = DependencyUnavailable("down", dependency="evaluator")


def answers(*texts: str) -> list[JudgedAnswer]:
    return [JudgedAnswer(asked=[("user", "Why?")], answer=text, reference="Because.") for text in texts]


def run_of(judges: FakeJudges, *, max_calls: int = 0, **facts: Any) -> TrainingRun:  # noqa: ANN401 - fields of a run
    rewards = (Reward(judge=JudgeReward(id="tone", max_calls=max_calls)),)
    settings = plan_settings(method="grpo", rewards=rewards)
    plan = TrainingPlan(id="lora", project="acme", settings=settings, authors=("user:ada",))
    guidance = Guidance(rewards=rewards, judge=judges.pinned)
    run = TrainingRun.queue(run="r1", plan=plan, dataset=dataset_version(), base="b@1", now=NOON, guidance=guidance)
    return replace(run, **facts)


async def judging_in(
    folder: Path,
    judges: FakeJudges,
    run: TrainingRun | None = None,
    **limits: Any,  # noqa: ANN401 - of their kinds
) -> AnswerJudging:
    """Return what judges in one attempt."""
    use = JudgeAnswers(judges=judges, limits=JudgingLimits(**{"wait_s": 0.0, **limits}))
    judging = await use.of(run or run_of(judges), RunFolder(path=folder))
    assert judging
    return judging


async def test_each_answer_is_judged_once_by_all_attempts_also_where_it_has_no_score(tmp_path: Path) -> None:
    judges = FakeJudges(says=lambda answer: {"a": 0.25, "b": None}.get(answer.answer, 1.0))
    first = await judging_in(tmp_path, judges)
    assert await first.scores(answers("a", "b", "a")) == [0.25, None, 0.25]

    second = await judging_in(tmp_path, judges)

    assert await second.scores(answers("b", "c", "a")) == [None, 1.0, 0.25]
    assert sorted(each.answer for each in judges.asked) == ["a", "b", "c"]
    assert second.counted == Judged(calls=3, answers=3, unscored=1)


async def test_no_text_is_stored_and_a_torn_line_is_asked_again(tmp_path: Path) -> None:
    judges = FakeJudges()
    await (await judging_in(tmp_path, judges)).scores(answers("secret words", "more"))
    file = RunFolder(path=tmp_path).judged
    stored = file.read_text(encoding="utf-8")
    assert not any(word in stored for word in ("secret", "Why", "Because"))
    file.write_text(stored[:-9], encoding="utf-8")

    for _ in range(2):
        await (await judging_in(tmp_path, judges)).scores(answers("secret words", "more"))

    assert len(judges.asked) == 3


async def test_answers_of_another_run_or_for_another_version_are_judged_anew(tmp_path: Path) -> None:
    judges = FakeJudges()
    await (await judging_in(tmp_path, judges)).scores(answers("a"))
    await (await judging_in(tmp_path, judges, run_of(judges, id="r2"))).scores(answers("a"))
    judges.pinned = PinnedJudge(version="tone@2-0123456789ab")
    await (await judging_in(tmp_path, judges)).scores(answers("a"))

    assert len(judges.asked) == 3


async def test_so_many_answers_are_judged_at_once_and_no_more(tmp_path: Path) -> None:
    judges = FakeJudges(takes_s=0.1)

    await (await judging_in(tmp_path, judges, max_concurrent=2)).scores(answers(*"abcdef"))

    assert (judges.max_in_flight, len(judges.asked)) == (2, 6)


@pytest.mark.parametrize("passing", [DOWN, RateLimited("slow down", retry_after_s=0.0)])
async def test_what_passes_is_tried_again_for_a_while(tmp_path: Path, passing: TidemillError) -> None:
    judges = FakeJudges(fails=[passing])

    assert await (await judging_in(tmp_path, judges, wait_s=60.0)).scores(answers("a")) == [0.5]


@pytest.mark.parametrize("passing", [DOWN, RateLimited("slow down", retry_after_s=0.0)])
async def test_a_judge_that_stays_away_makes_the_run_wait_and_what_it_said_is_kept(
    tmp_path: Path, passing: TidemillError
) -> None:
    judges = FakeJudges()
    judging = await judging_in(tmp_path, judges, max_concurrent=1)
    await judging.scores(answers("a"))
    judges.fails = [passing]

    with pytest.raises(DependencyUnavailable) as waits:
        await judging.scores(answers("b", "c"))

    assert waits.value.dependency == "evaluator"
    assert await (await judging_in(tmp_path, judges)).scores(answers(*"abc")) == [0.5, 0.5, 0.5]
    assert sorted(each.answer for each in judges.asked) == ["a", "b", "c"]


async def test_a_judge_that_changed_ends_the_run_by_evaluators_reason(tmp_path: Path) -> None:
    judges = FakeJudges()
    judging = await judging_in(tmp_path, judges)
    judges.pinned = PinnedJudge(version="tone@2-0123456789ab")

    with pytest.raises(TrainingFailed, match=r"judge tone: .* was pinned as tone@1-.*, and is tone@2-") as failed:
        await judging.scores(answers("a", "b"))

    assert failed.value.reason == "JUDGE_CHANGED"


async def test_calls_of_all_attempts_and_of_each_member_of_a_jury_count_towards_the_limit(tmp_path: Path) -> None:
    judges = FakeJudges(pinned=PinnedJudge(version="panel@1-0123456789ab", calls_per_answer=3))
    run = run_of(judges, max_calls=7)
    await (await judging_in(tmp_path, judges, run)).scores(answers("a", "b"))
    judging = await judging_in(tmp_path, judges, run)

    with pytest.raises(TrainingFailed, match="would be called 9 times; the limit is 7") as failed:
        await judging.scores(answers("b", "c"))

    assert failed.value.reason == "JUDGE_CALLS_SPENT"
    assert await judging.scores(answers("a")) == [0.5]
    assert (len(judges.asked), judging.counted.calls) == (2, 6)


async def test_calls_of_a_jury_that_does_not_answer_count_but_for_the_one_that_was_not_made(tmp_path: Path) -> None:
    judges = FakeJudges(pinned=PinnedJudge(version="panel@1-0123456789ab", calls_per_answer=3), fails=[DOWN] * 2)
    run = run_of(judges, max_calls=7)
    for _ in range(2):
        with pytest.raises(DependencyUnavailable):
            await (await judging_in(tmp_path, judges, run)).scores(answers("a"))
    judging = await judging_in(tmp_path, judges, run)

    assert await judging.scores(answers("a")) == [0.5]
    with pytest.raises(TrainingFailed, match="judge tone would be called 10 times; the limit is 7"):
        await judging.scores(answers("b"))
    assert (judging.counted.calls, len(judges.asked)) == (7, 1)


async def test_a_try_beyond_the_limit_is_not_made_within_a_step_either(tmp_path: Path) -> None:
    slow = DependencyTimedOut("slow", dependency="evaluator")
    judges = FakeJudges(fails=[slow] * 9)
    judging = await judging_in(tmp_path, judges, run_of(judges, max_calls=2), wait_s=60.0)

    with pytest.raises(TrainingFailed, match=r"^judge tone would be called 3 times; the limit is 2") as failed:
        await judging.scores(answers("a"))

    assert (failed.value.reason, len(judges.fails)) == ("JUDGE_CALLS_SPENT", 7)


async def test_calls_that_were_made_elsewhere_count(tmp_path: Path) -> None:
    judges = FakeJudges()
    run = run_of(judges, progress=Progress(judge_calls=5))

    judging = await judging_in(tmp_path, judges, run)
    await judging.scores(answers("a"))

    assert judging.counted == Judged(calls=6, answers=1, unscored=0)


async def test_too_many_answers_without_a_score_end_the_run_and_a_retry_asks_about_these_again(tmp_path: Path) -> None:
    judges = FakeJudges(says=lambda answer: None if answer.answer in "cde" else 0.75)
    judging = await judging_in(tmp_path, judges)
    assert await judging.scores(answers("a", "c", "d")) == [0.75, None, None]
    with pytest.raises(TrainingFailed, match="did not judge 3 of 4 answers; the limit is 10%") as failed:
        await judging.scores(answers("e"))
    assert failed.value.reason == "JUDGE_UNRELIABLE"

    judges.says = lambda _: 1.0
    retried = await judging_in(tmp_path, judges)

    assert await retried.scores(answers(*"acde")) == [0.75, 1.0, 1.0, 1.0]
    assert retried.counted == Judged(calls=7, answers=4, unscored=0)


async def test_an_answer_that_is_too_long_for_a_judge_has_no_score(tmp_path: Path) -> None:
    judges = FakeJudges(fails=[InvalidInput.at("answer", "too long")])

    judging = await judging_in(tmp_path, judges)
    assert await judging.scores(answers("a")) == [None]
    assert judging.counted == Judged(calls=0, answers=1, unscored=1)

    judges.fails = [InvalidInput.at("answer", "too long")] * 2
    with pytest.raises(TrainingFailed, match=r"refused 3 of them.*EVALUATOR_MAX_SCORED_CHARACTERS"):
        await judging.scores(answers("b", "c"))


@pytest.mark.parametrize(
    ("requester", "authors", "subject"),
    [("user:eva", ("user:ada",), "user:eva"), ("", ("user:ada",), "user:ada"), ("", (), "tidemill-trainer")],
)
async def test_a_judge_is_asked_by_trainer_on_behalf_of_who_started_the_run(
    tmp_path: Path, requester: str, authors: tuple[str, ...], subject: str
) -> None:
    judges = FakeJudges()
    run = run_of(judges, requester=requester, authors=authors)

    await (await judging_in(tmp_path, judges, run)).scores(answers("a"))

    (caller,) = judges.callers
    assert (caller.project, caller.subject, caller.via) == ("acme", subject, "trainer")


async def test_what_is_judged_when_a_worker_ends_is_left_and_the_rest_is_kept(tmp_path: Path) -> None:
    hang = asyncio.Event()

    class Hanging(FakeJudges):
        async def score(self, *given: Any, **more: Any) -> float | None:  # noqa: ANN401 - as the fake's
            found = await super().score(*given, **more)
            if self.asked[-1].answer == "b":
                hang.set()
                await asyncio.Event().wait()
            return found

    judging = await judging_in(tmp_path, Hanging(), max_concurrent=1)
    working = asyncio.create_task(judging.scores(answers("a", "b", "c")))
    await hang.wait()
    working.cancel()
    await asyncio.wait([working])
    judges = FakeJudges()

    await (await judging_in(tmp_path, judges)).scores(answers("a", "b", "c"))

    assert [each.answer for each in judges.asked] == ["b", "c"]
