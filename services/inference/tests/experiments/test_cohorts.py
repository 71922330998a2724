"""Results of an experiment by cohort: who is of one, what is compared, and that nothing is decided by it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from services.inference.tests.bench.cohorts import COHORTS, liked
from services.inference.tests.experiments.experiment_fakes import ExperimentHarness, tone
from services.inference.tests.experiments.simulated_cohorts import run
from services.inference.tests.fakes import ADA, writing
from tidemill_core.errors import InvalidInput
from tidemill_inference.experiments.domain.cohorts import CohortCounts
from tidemill_inference.experiments.domain.comparison import Counts, counted
from tidemill_inference.experiments.domain.plan import CohortPlan, Guardrail, Measure, Measured
from tidemill_inference.experiments.messages import experiment_message, experiment_of
from tidemill_inference.experiments.mongo import EXPERIMENTS
from tidemill_inference.rollouts.domain.step_counts import Outcome
from tidemill_kit.store.aggregates import Identity
from tidemill_testkit.clocks import NOON

FAILURES = Measured(measure=Measure.FAILURES)
BY_PLAN = CohortPlan(labels=("plan",), max_values=2)
NAMES = ("now", "lora")


def came(  # noqa: PLR0913 - what differs between them
    value: str, users: int, *, arm: str = "now", failed: int = 0, first: int = 0, each: int = 1, label: str = "plan"
) -> list[Outcome]:
    """Return answers to so many users of a cohort, one a second from `first` on, of which some failed."""
    return [
        Outcome(
            inference=f"{label} {value} {arm} {number} {answer}",
            rollout="tone@1",
            step=0,
            variant=arm,
            failed=number < failed,
            total_s=1.0,
            user=f"{label} {value} {arm} {number}",
            cohorts={label: value} if value else {},
            asked_at=NOON + timedelta(seconds=first + number),
        )
        for number in range(users)
        for answer in range(each)
    ]


def counts_of(outcomes: Sequence[Outcome], plan: CohortPlan = BY_PLAN) -> Counts:
    return counted(outcomes, NAMES, goal=FAILURES, guardrails=[], now=NOON, cohorts=plan).with_differences(error=0.05)


def by_value(counts: Counts) -> Mapping[str, CohortCounts]:
    return {"(other)" if each.other else each.value: each for each in counts.cohorts.counts}


def test_users_are_one_observation_of_each_cohort_that_they_asked_in() -> None:
    often = came("pro", 5, each=3, failed=1)
    moved = [replace(often[0], inference="elsewhere", cohorts={"plan": "free"}, failed=False)]
    counts = counts_of([*often, *moved, *came("free", 5), *came("", 2)])

    shown = {name: cohort.arms[0].counts for name, cohort in by_value(counts).items()}

    assert {name: (each.answers, each.failures, each.users) for name, each in shown.items()} == {
        "free": (6, 0, 6),
        "pro": (15, 3, 5),
        "": (2, 0, 2),
    }
    assert (shown["pro"].goal.mean, shown["pro"].goal.number) == (0.8, 5)
    assert counts.arms["now"].answers == 23


def test_values_have_results_of_their_own_in_the_order_in_which_they_came_to_have_users_and_keep_them() -> None:
    early = [*came("b", 5), *came("a", 4, first=10), *came("a", 1, arm="lora", first=20), *came("c", 5, first=30)]
    first = by_value(counts_of(early))
    assert list(first) == ["b", "a", "(other)"]
    assert first["(other)"].arms[0].counts.users == 5

    later = [*early, *came("c", 500, first=100), *came("d", 4, first=200)]
    again = by_value(counts_of(list(reversed(later))))

    assert list(again) == ["b", "a", "(other)"], "also where others have more users by now"
    assert again["(other)"].value == ""
    assert "d" not in by_value(counts_of(came("d", 4, each=3))), "which could identify a person"


def test_cohorts_are_compared_where_both_sides_have_enough_users_and_others_never() -> None:
    given = [
        *came("pro", 60, failed=50),
        *came("pro", 60, arm="lora", first=1),
        *came("free", 60, first=100),
        *came("free", 9, arm="lora", failed=9, first=100),
        *came("late", 60, failed=60, first=200),
        *came("late", 60, arm="lora", first=200),
        *came("", 60, first=300),
        *came("", 60, arm="lora", first=300),
    ]

    cohorts = by_value(counts_of(given))

    assert {name: each.arms[1].enough for name, each in cohorts.items()} == {
        "pro": True,
        "free": False,
        "": True,
        "(other)": False,
    }
    pro, free, absent = (cohorts[name].arms[1] for name in ("pro", "free", ""))
    assert pro.adjusted_p_value is not None
    assert pro.adjusted_p_value < 0.01
    assert pro.counts.goal.difference is not None
    assert pro.counts.goal.difference.low > 0.3
    assert absent.adjusted_p_value == 1.0
    for each in (free, cohorts["(other)"].arms[1], *(cohort.arms[0] for cohort in cohorts.values())):
        assert (each.adjusted_p_value, each.counts.goal.difference) == (None, None)
    assert free.counts.goal.mean == 0.0


def test_what_is_corrected_for_is_how_many_comparisons_there_may_be_not_how_many_there_are() -> None:
    given = [*came("pro", 40, failed=20), *came("pro", 40, arm="lora", first=1)]
    few, many = (by_value(counts_of(given, replace(BY_PLAN, max_values=values)))["pro"].arms[1] for values in (1, 9))

    assert few.adjusted_p_value is not None
    assert many.adjusted_p_value == pytest.approx(5 * few.adjusted_p_value)
    assert few.counts.goal.difference is not None
    assert many.counts.goal.difference is not None
    assert few.counts.goal.difference.low > many.counts.goal.difference.low
    assert BY_PLAN.family(3) == 6
    assert counts_of(given).cohorts.family == 3


def test_several_labels_divide_the_same_answers_each_in_its_own_way() -> None:
    given = [
        replace(each, cohorts={"plan": "pro", "country": "fr" if number % 2 else "de"})
        for number, each in enumerate(came("pro", 20))
    ]

    counts = counts_of(given, CohortPlan(labels=("plan", "country")))

    shown = [(each.label, each.value, each.arms[0].counts.users) for each in counts.cohorts.counts]
    assert shown == [("plan", "pro", 20), ("country", "de", 10), ("country", "fr", 10)]


async def test_no_decision_rests_on_a_cohort() -> None:
    harness = ExperimentHarness()
    await harness.starts(cohorts=BY_PLAN)
    given = [
        *came("pro", 80, failed=40),
        *came("pro", 80, arm="lora"),
        *came("free", 80, first=100),
        *came("free", 80, arm="lora", failed=40, first=100),
    ]
    for each in given:
        await harness.outcomes.record(ADA.project, each)

    assert await harness.tick(), "what one cohort gains, the other loses"

    run = (await harness.crud.get(ADA, "tone")).run
    assert run is not None
    assert run.running
    found = {each.value: each.arms[1].adjusted_p_value or 1.0 for each in run.cohorts}
    assert max(found.values()) < 0.01


async def test_of_a_request_only_the_labels_are_kept_that_the_experiment_declares() -> None:
    harness = ExperimentHarness()
    await harness.starts(cohorts=BY_PLAN)
    for number in range(6):
        await harness.asks(f"u{number}", labels={"plan": "pro", "secret": "of the user"})
    await harness.asks("u7", labels={"plan": ""})

    kept = await harness.outcomes.of_run(ADA.project, "tone@1")

    assert [dict(each.cohorts) for each in kept] == [*[{"plan": "pro"}] * 6, {}]
    assert all(each.asked_at for each in kept)
    shown = experiment_message(await harness.crud.get(ADA, "tone")).run.cohorts
    assert [(each.label, each.value, sum(arm.users for arm in each.arms)) for each in shown] == [
        ("plan", "pro", 6),
        ("plan", "", 1),
    ]


async def test_an_erased_user_is_of_no_cohort_and_an_experiment_without_labels_keeps_none() -> None:
    harness = ExperimentHarness()
    await harness.starts(cohorts=BY_PLAN)
    for number in range(6):
        await harness.asks(f"u{number}", labels={"plan": "pro"})
    assert await harness.outcomes.of_end_user(ADA.project, "u3") == 1
    (pro,) = (await harness.count(await harness.stored())).cohorts.counts
    assert sum(arm.counts.users for arm in pro.arms) == 5

    other = ExperimentHarness()
    await other.starts()
    await other.asks("u", labels={"plan": "pro"})
    (kept,) = await other.outcomes.of_run(ADA.project, "tone@1")
    assert (kept.cohorts, kept.asked_at) == ({}, None)


async def test_results_stay_with_the_experiment_when_it_ends_and_read_as_they_were_stored() -> None:
    harness = ExperimentHarness()
    guardrails = (Guardrail(measure=Measure.LATENCY, worst=4.0, loss_above=0.5),)
    await harness.starts(cohorts=BY_PLAN, guardrails=guardrails)
    for each in [*came("pro", 30, failed=9), *came("pro", 30, arm="lora")]:
        await harness.outcomes.record(ADA.project, each)
    ended = await harness.crud.stop(ADA, "tone", writing("s"))
    assert ended.run is not None

    identity = Identity(**{name: getattr(ended, name) for name in Identity.__dataclass_fields__})
    stored = EXPERIMENTS.decode(identity, EXPERIMENTS.encode(ended), EXPERIMENTS.schema)

    assert stored.cohorts == BY_PLAN
    assert stored.run == ended.run
    state = EXPERIMENTS.encode(ended)
    earlier = {name: each for name, each in state.items() if name != "cohorts"}
    earlier["run"] = {name: each for name, each in state["run"].items() if name != "cohorts"}
    read = EXPERIMENTS.decode(identity, earlier, EXPERIMENTS.schema)
    assert read.run is not None
    assert (read.cohorts, read.run.cohorts) == (CohortPlan(), ())
    (message,) = experiment_message(stored).run.cohorts
    now, lora = message.arms
    assert (now.arm, now.users, now.failures, now.enough) == ("now", 30, 9, True)
    assert not now.HasField("adjusted_p_value")
    assert lora.goal.HasField("difference")
    assert 0.0 < lora.adjusted_p_value <= 1.0
    assert [each.measure for each in lora.guardrails] == ["latency"]
    assert not lora.guardrails[0].HasField("difference")
    assert experiment_of(experiment_message(stored), project=ADA.project).cohorts == BY_PLAN


async def test_an_experiment_without_labels_needs_no_max_values_within_the_limit() -> None:
    harness = ExperimentHarness()

    started = await replace(harness.crud, max_cohorts=2).create(ADA, tone(), writing("c"))

    assert started.cohorts.max_values == 5
    with pytest.raises(InvalidInput, match="is 5; use 1 to 2"):
        await replace(harness.crud, max_cohorts=2).create(ADA, tone(cohorts=CohortPlan(labels=("a",))), writing("d"))


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        (CohortPlan(labels=("a", "b", "c", "d")), "experiment.cohorts.labels"),
        (CohortPlan(labels=("a", "a")), "experiment.cohorts.labels[1]"),
        (CohortPlan(labels=("",)), "experiment.cohorts.labels[0]"),
        (CohortPlan(labels=("x" * 300,)), "experiment.cohorts.labels[0]"),
        (CohortPlan(labels=("a",), max_values=11), "experiment.cohorts.max_values"),
        (CohortPlan(labels=("a",), max_values=-1), "experiment.cohorts.max_values"),
    ],
)
async def test_labels_that_cannot_be_shown_are_refused_by_their_field(plan: CohortPlan, field: str) -> None:
    harness = ExperimentHarness()

    with pytest.raises(InvalidInput) as refused:
        await harness.starts(cohorts=plan)

    assert field in {violation.field for violation in refused.value.violations}


@pytest.mark.heavy
def test_equal_cohorts_are_seldom_called_different_however_often_they_are_read_and_one_that_differs_is_found() -> None:
    equal = [run(liked({}), COHORTS, arms=2, users=400, seed=seed) for seed in range(12)]
    assert sum(map(bool, equal)) <= 1

    differs = [run(liked({"a": 0.95}), ("a", "b"), arms=2, users=400, seed=seed) for seed in range(3)]
    assert [set(each) for each in differs] == [{"a"}] * 3
