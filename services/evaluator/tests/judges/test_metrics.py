"""The metrics `judge:NAME`: what they are of a pair of answers, and when they are refused."""

from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA
from services.evaluator.tests.judges.harness import GRADER, PAIRS, Judging, judge_of, pairwise, points, prefers
from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput
from tidemill_evaluator.errors import JudgeNotFound, NoVerdict
from tidemill_evaluator.judges.ports import JudgeDeployment
from tidemill_evaluator.metrics.domain.metric import PairScores


async def test_both_sides_have_points_and_neither_is_named() -> None:
    judging = Judging()
    await judging.with_judge()
    judging.models.says = lambda form: points(5 if '"yes"' in form.material else 2)

    found = await judging.metrics.scores(ADA, ["judge:tone"], await judging.pair())

    assert found == PairScores(baseline={"judge:tone": 0.25}, candidate={"judge:tone": 1.0})


async def test_what_one_side_has_no_judgement_of_is_missing_of_both() -> None:
    judging = Judging()
    await judging.with_judge()
    judging.models.says = lambda form: "well" if '"yes"' in form.material else points(2)

    found = await judging.metrics.scores(ADA, ["judge:tone"], await judging.pair())

    assert found == PairScores(baseline={"judge:tone": None}, candidate={"judge:tone": None})


async def test_a_side_that_failed_is_not_judged_and_the_other_one_is() -> None:
    judging = Judging()
    await judging.with_judge()
    await judging.with_judge(pairwise())

    points_alone = await judging.metrics.scores(ADA, ["judge:tone"], await judging.pair(candidate=None))
    pair_alone = await judging.metrics.scores(ADA, ["judge:better"], await judging.pair("better", candidate=None))

    assert points_alone == PairScores(baseline={"judge:tone": 1.0})
    assert pair_alone == PairScores(baseline={"judge:better": 0.5})


async def test_the_candidate_of_a_pair_is_above_a_half_where_it_is_better() -> None:
    judging = Judging()
    await judging.with_judge(pairwise())
    metric, bias = PAIRS

    for preferred, score in (("yes", 1.0), ("no", 0.0)):
        judging.models.says = prefers(preferred)
        found = await judging.metrics.scores(ADA, [metric], await judging.pair("better"))
        assert found == PairScores(baseline={metric: 0.5, bias: 0.0}, candidate={metric: score, bias: 0.0})

    judging.models.says = lambda _: '{"preferred": "A"}'
    found = await judging.metrics.scores(ADA, [metric], await judging.pair("better"))
    assert found == PairScores(baseline={metric: 0.5, bias: 0.0}, candidate={metric: 0.5, bias: 1.0})


async def test_metrics_of_judges_are_known_by_their_form_and_used_where_the_project_has_them() -> None:
    judging = Judging()
    await judging.with_judge()

    known = [judging.metrics.find(name) for name in ("judge:tone", "judge:", "judge:A b", "tone", "judge:a:b")]
    assert [metric.name for metric in known if metric] == ["judge:tone"]
    bias = judging.metrics.find("judge:tone:position_bias")
    assert bias is not None
    assert bias.less_is_better
    await judging.metrics.check(ADA, ["judge:tone"], gating=False)
    with pytest.raises(JudgeNotFound, match="judge other does not exist"):
        await judging.metrics.check(ADA, ["judge:tone", "judge:other"], gating=False)
    with pytest.raises(JudgeNotFound):
        await judging.metrics.check(Caller(project="globex"), ["judge:tone"], gating=False)
    with pytest.raises(InvalidInput, match="beside the scores"):
        await judging.metrics.check(ADA, ["judge:tone:position_bias"], gating=False)


@pytest.mark.parametrize("answering", ["grader@1", "grader@7"])
async def test_a_judge_of_its_own_answers_is_refused_unless_that_was_declared(answering: str) -> None:
    judging = Judging()
    await judging.with_judge()
    await judging.with_judge(judge_of("own", may_judge_itself=True))

    with pytest.raises(NoVerdict, match="its own model, grader") as refused:
        await judging.metrics.pin(ADA, ["judge:tone"], answering=["small@1", answering], gating=False)
    assert refused.value.reason == "JUDGES_ITSELF"
    assert await judging.metrics.pin(ADA, ["judge:own"], answering=[answering], gating=False)


async def test_a_deployment_that_searches_does_not_judge() -> None:
    judging = Judging()
    await judging.with_judge()
    judging.models.deployments["acme", "grader"] = JudgeDeployment(
        configuration="g1", model="grader@1", deadline_s=30.0, searches="handbook"
    )

    with pytest.raises(NoVerdict, match="searches handbook") as refused:
        await judging.metrics.pin(ADA, ["judge:tone"], answering=[], gating=False)
    assert refused.value.reason == "JUDGE_UNAVAILABLE"


async def test_a_judge_that_changed_since_it_was_pinned_judges_nothing() -> None:
    judging = Judging()
    await judging.with_judge()
    pair = await judging.pair()
    judging.models.deployments["acme", "grader"] = JudgeDeployment(
        configuration="g2", model=GRADER.model, deadline_s=30.0
    )

    with pytest.raises(NoVerdict, match=r"the configuration of grader, which judges, changed since tone@1-") as ended:
        await judging.metrics.scores(ADA, ["judge:tone"], pair)
    assert ended.value.reason == "JUDGE_CHANGED"
    assert len(judging.models.forms) == 1, "its answer says so, and does not count"


async def test_a_judge_that_is_gone_ends_the_evaluation() -> None:
    judging = Judging()
    await judging.with_judge()
    pair = await judging.pair()
    judging.store.remove("acme", "tone")

    with pytest.raises(NoVerdict, match="judge tone does not exist") as ended:
        await judging.metrics.scores(ADA, ["judge:tone"], pair)
    assert ended.value.reason == "JUDGE_UNAVAILABLE"


async def test_the_deployment_of_a_judge_is_not_read_for_each_case_but_where_it_changed() -> None:
    judging = Judging()
    await judging.with_judge()
    pair = await judging.pair()
    judging.models.read.clear()

    for name in ("c1", "c2"):
        await judging.metrics.scores(ADA, ["judge:tone"], replace(pair, name=name))
    assert judging.models.read == []
    judging.models.deployments["acme", "grader"] = replace(GRADER, configuration="g2")
    again = await judging.pair()
    await judging.metrics.scores(ADA, ["judge:tone"], replace(again, name="c3"))
    with pytest.raises(NoVerdict, match="judge tone was pinned as tone@1-"):
        await judging.metrics.scores(ADA, ["judge:tone"], replace(pair, name="c4"))


async def test_the_models_behind_metrics_are_those_of_their_judges_and_of_none_that_is_not_there() -> None:
    judging = Judging()
    await judging.with_judge()

    found = await judging.metrics.models_of(ADA, ["rouge_l", "judge:tone", "judge:gone"])

    assert set(found) == {GRADER.model}
