"""How far a judge agrees with people, and what it may decide by that."""

import re
from dataclasses import replace

import pytest

from services.evaluator.tests.builders import ADA, write
from services.evaluator.tests.judges.harness import GRADER, Judging, judge_of, pairwise, points
from tidemill_core.application import Requeue
from tidemill_core.errors import (
    DependencyUnavailable,
    InvalidInput,
    PermissionDenied,
    PreconditionFailed,
    TidemillError,
)
from tidemill_evaluator.errors import JudgeBusy, NoVerdict
from tidemill_evaluator.judges.domain.agreement import Labelled, kappa_of
from tidemill_evaluator.judges.domain.measurement import JudgeMeasurement, MeasurementState
from tidemill_evaluator.judges.erasure import StopMeasurements
from tidemill_evaluator.judges.ports import JudgeDeployment
from tidemill_kit.erasure.steps import Scope, Target

MIXED = (1.0, 0.0) * 20
METRIC = ["judge:tone"]
TWICE = 10
"""Answers that are judged twice, for drift."""
ADAS = Target(project="acme", scope=Scope.END_USER, subject="ada")


def table(*, both: int, neither: int, people: int, judge: int) -> list[Labelled]:
    """Return yes and no of so many answers: of both, of neither, of people alone, of the judge alone."""
    return [
        *[Labelled(1, 1)] * both,
        *[Labelled(0, 0)] * neither,
        *[Labelled(1, 0)] * people,
        *[Labelled(0, 1)] * judge,
    ]


@pytest.mark.parametrize(
    ("items", "value"),
    [
        (table(both=20, neither=15, people=5, judge=10), 0.4),  # the example of Cohen's kappa in Wikipedia
        (table(both=45, neither=15, people=15, judge=25), 0.1304),
        (table(both=5, neither=5, people=0, judge=0), 1.0),
        (table(both=0, neither=0, people=5, judge=5), -1.0),
        (
            [Labelled(0, 0.1), Labelled(0.5, 0.6), Labelled(1, 1.1)],
            0.9709,
        ),  # Lin 1989: 2 * (1 / 6) / (1 / 6 + 1 / 6 + 0.1 ** 2)
    ],
)
def test_kappa_is_that_of_published_examples(items: list[Labelled], value: float) -> None:
    found = kappa_of(items, low=0.0, high=1.0)

    assert found is not None
    assert found.value == pytest.approx(value, abs=1e-3)


def test_there_is_no_kappa_where_chance_alone_agrees() -> None:
    assert kappa_of([Labelled(1, 1)] * 9, low=0.0, high=0.1) is None


async def test_a_judge_is_measured_on_what_people_resolved_and_may_then_decide() -> None:
    judging = Judging()
    await judging.with_judge()
    judging.review(*MIXED)
    with pytest.raises(NoVerdict, match="it never was; use `tidemill judges measure tone") as refused:
        await judging.metrics.check(ADA, METRIC, gating=True)
    assert refused.value.reason == "JUDGE_UNMEASURED"

    judge = await judging.measured()

    assert judge.measurement == JudgeMeasurement(
        queue="answers", field="right", state=MeasurementState.COMPLETED, epoch=1, completed=1, judged=40, items=40
    )
    found = judge.agreement
    assert found is not None
    assert (found.measure, found.value, found.high, found.items, found.unjudged) == ("cohen_kappa", 1.0, 1.0, 40, 0)
    assert 0.7 < found.low < 1.0, "40 answers do not show that it always agrees"
    await judging.metrics.check(ADA, METRIC, gating=True)
    assert await judging.metrics.pin(ADA, METRIC, answering=[], gating=True) == {"judge:tone": found.version}


async def test_a_judge_that_agrees_too_little_decides_nothing_and_the_error_says_why() -> None:
    judging = Judging()
    await judging.with_judge(judge_of(min_agreement=0.9))
    judging.review(*MIXED)
    await judging.measured()

    for decides in (
        judging.metrics.check(ADA, METRIC, gating=True),
        judging.metrics.pin(ADA, METRIC, answering=[], gating=True),
    ):
        with pytest.raises(NoVerdict, match=r"agreement of 1.00 .* on 40 answers of answers; it needs 0.9") as refused:
            await decides
        assert refused.value.reason == "JUDGE_DISAGREES"
    assert await judging.metrics.pin(ADA, METRIC, answering=[], gating=False)


@pytest.mark.parametrize("of", ["rubric", "deployment"])
async def test_another_version_than_the_measured_one_decides_nothing(of: str) -> None:
    judging = Judging()
    await judging.with_judge()
    judging.review(*MIXED)
    await judging.measured()

    if of == "rubric":
        await judging.crud.update(ADA, judge_of(rubric="Is it true?"), frozenset({"rubric"}), write())
    else:
        judging.models.deployments["acme", "grader"] = JudgeDeployment(
            configuration="g2", model=GRADER.model, deadline_s=30.0
        )

    with pytest.raises(NoVerdict, match=r"tone@1-\w+ was measured, and it is tone@") as refused:
        await judging.metrics.check(ADA, METRIC, gating=True)
    assert refused.value.reason == "JUDGE_UNMEASURED"


async def test_numbers_are_compared_as_numbers() -> None:
    judging = Judging()
    await judging.with_judge()
    judging.review(*MIXED, right=4, wrong=2)

    found = (await judging.measured(field="stars")).agreement

    assert found is not None
    assert found.measure == "weighted_kappa"
    assert found.value == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("labels", "says", "reason", "message"),
    [
        (MIXED[:9], points(5), "TOO_FEW_LABELS", "of queue answers, 9 with right have their texts.* at least 10"),
        ((1.0,) * 12, points(5), "TOO_FEW_LABELS", "all labels of right and all scores are alike"),
        (MIXED, "very good!", "JUDGE_UNRELIABLE", "did not judge 40 of 40 answers; the limit is 10%"),
    ],
)
async def test_a_measurement_that_shows_nothing_fails_and_says_why(
    labels: tuple[float, ...], says: str, reason: str, message: str
) -> None:
    judging = Judging()
    await judging.with_judge()
    judging.review(*labels)
    judging.models.says = lambda _: says

    judge = await judging.measured()

    assert judge.agreement is None
    assert judge.measurement is not None
    assert (judge.measurement.state, judge.measurement.reason) == (MeasurementState.FAILED, reason)
    assert re.search(message, judge.measurement.message)


async def test_what_is_erased_or_without_text_is_passed_over() -> None:
    judging = Judging()
    await judging.with_judge()
    judging.review(*MIXED)
    for number in range(10):
        del judging.records.known[f"a{number}"]

    judge = await judging.measured()

    assert judge.agreement is not None
    assert judge.agreement.items == 30


async def test_a_worker_that_resumes_asks_nothing_twice_and_one_that_was_late_changes_nothing() -> None:
    judging = Judging()
    await judging.with_judge()
    judging.review(*MIXED)
    await judging.start(ADA, "tone", queue="answers", field="right", write=write())
    judging.models.fails = [DependencyUnavailable("no answer", dependency="inference")] * 200

    async def available_for_some(_: str) -> None:
        judging.models.fails = [] if len(judging.models.forms) < 12 else [*judging.models.fails, *[_away()] * 3]

    judging.records.before = available_for_some
    waits = await judging.measure(ADA, "tone", epoch=1)
    waiting = (await judging.store.get("acme", "tone")).measurement
    judging.records.before, judging.models.fails = None, []
    assert await judging.measure(ADA, "tone", epoch=0) is None
    asked = len(judging.models.forms)
    assert await judging.measure(ADA, "tone", epoch=2) is None

    judge = await judging.store.get("acme", "tone")
    assert isinstance(waits, Requeue)
    assert waiting is not None
    assert waiting.message == "waits for inference: no answer"
    assert asked >= 12
    assert len(judging.models.forms) == 40 + TWICE
    assert judge.agreement is not None


def _away() -> DependencyUnavailable:
    return DependencyUnavailable("no answer", dependency="inference")


async def test_an_erasure_has_a_measurement_begin_again_without_what_was_erased() -> None:
    judging = Judging()
    await judging.with_judge()
    judging.review(*MIXED)
    erasure = StopMeasurements(judges=judging.store)

    async def erase(inference: str) -> None:
        if inference == "a0":
            assert await erasure.of_user(ADAS) == 0, "else it would be repeated for ever"
            for number in range(10):
                del judging.records.known[f"a{number}"]

    judging.records.before = erase
    interrupted = await judging.measured()
    kept = [each for known in judging.judged.stored.values() for each in known]
    judging.records.before = None
    await judging.measure(ADA, "tone", epoch=2)

    judge = await judging.store.get("acme", "tone")
    assert interrupted.measurement is not None
    assert interrupted.measurement.state is MeasurementState.RUNNING
    assert kept == [], "nothing that was read before is kept"
    assert judge.agreement is not None
    assert judge.agreement.items == 30


async def test_the_erasure_of_a_project_and_a_change_of_the_judge_end_a_measurement() -> None:
    judging = Judging()
    judging.review(*MIXED)
    erasure = StopMeasurements(judges=judging.store)

    async def begin(name: str) -> None:
        await judging.with_judge(judge_of(name))
        await judging.start(ADA, name, queue="answers", field="right", write=write())

    await begin("tone")
    await begin("brief")
    await judging.crud.update(ADA, judge_of(rubric="Is it true?"), frozenset({"rubric"}), write())
    await erasure("acme")

    ended = [(await judging.store.get("acme", name)).measurement for name in ("tone", "brief")]
    assert [each and each.reason for each in ended] == ["CANCELLED", "CANCELLED"]
    assert ended[0] is not None
    assert ended[0].message == "the judge was changed while it was measured: measure it again"


@pytest.mark.parametrize("error", [PreconditionFailed("no address"), PermissionDenied("not yours")])
async def test_a_measurement_that_cannot_succeed_ends_and_says_why(error: TidemillError) -> None:
    judging = Judging()
    await judging.with_judge()
    judging.review(*MIXED)
    await judging.start(ADA, "tone", queue="answers", field="right", write=write())
    judging.queues.away = error

    assert await judging.measure(ADA, "tone", epoch=1) is None

    ended = (await judging.store.get("acme", "tone")).measurement
    assert ended is not None
    assert (ended.state, ended.reason, ended.message) == (MeasurementState.FAILED, error.reason, error.message)


async def test_a_judge_is_not_measured_on_answers_of_its_own_model() -> None:
    judging = Judging()
    await judging.with_judge()
    judging.review(*MIXED)
    for number in range(35):
        found = judging.records.known[f"a{number}"]
        judging.records.known[f"a{number}"] = replace(found, model="grader@7")

    ended = (await judging.measured()).measurement
    await judging.crud.update(ADA, judge_of(may_judge_itself=True), frozenset({"may_judge_itself"}), write())
    judge = await judging.measured(epoch=2)

    assert ended is not None
    assert ended.reason == "TOO_FEW_LABELS"
    assert ended.message.startswith("of the latest resolved answers of queue answers, 5 with right")
    assert judge.agreement is not None


async def test_what_cannot_measure_a_judge_is_refused_with_what_can() -> None:
    judging = Judging()
    await judging.with_judge()
    await judging.with_judge(pairwise())

    async def start(judge: str = "tone", queue: str = "answers", field: str = "right") -> None:
        await judging.start(ADA, judge, queue=queue, field=field, write=write())

    with pytest.raises(InvalidInput, match="queue: is 'others': there is no such review queue"):
        await start(queue="others")
    with pytest.raises(InvalidInput, match=r"field: is 'tone': use a boolean of answers, .*: right, stars"):
        await start(field="tone")
    with pytest.raises(InvalidInput, match="PAIRWISE"):
        await start("better")
    await start()
    with pytest.raises(JudgeBusy):
        await start()


async def test_judgements_of_the_last_measurement_are_kept_beside_those_of_one_under_way() -> None:
    judging = Judging()
    await judging.with_judge()
    judging.review(*MIXED)
    await judging.measured()
    await judging.crud.update(ADA, judge_of(rubric="Is it true?"), frozenset({"rubric"}), write())

    judge = await judging.measured(epoch=2)

    assert judge.agreement is not None
    first, second = sorted(judging.judged.stored, key=lambda each: each[1].measurement)
    assert second[1].version == judge.agreement.version
    await judging.measured(epoch=3)
    assert first not in judging.judged.stored


async def test_measuring_again_asks_again() -> None:
    judging = Judging()
    await judging.with_judge()
    judging.review(*MIXED)
    well = judging.models.says
    judging.models.says = lambda _: "very good!"
    failed = (await judging.measured()).measurement
    judging.models.says = well

    judge = await judging.measured(epoch=2)

    assert failed is not None
    assert failed.reason == "JUDGE_UNRELIABLE"
    assert judge.agreement is not None
    assert judge.agreement.value == 1.0


async def test_progress_is_written_now_and_then_and_what_was_judged_goes_with_the_judge() -> None:
    judging = Judging()
    await judging.with_judge()
    judging.review(*MIXED)
    writes = (await judging.measured()).version

    await judging.crud.delete(ADA, "tone", write())

    assert writes < 12, "of 40 judgements"
    assert judging.judged.stored == {}
