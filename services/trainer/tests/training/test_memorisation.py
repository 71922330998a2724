"""What plans plant, what exposures say of a model, and what runs, versions and cards keep of it."""

import math
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from services.trainer.tests.training.fakes import Harness
from tidemill.trainer.v1 import training_pb2 as pb
from tidemill_core.errors import InvalidInput
from tidemill_trainer.registry.domain.memorisation import (
    Extraction,
    Memorisation,
    exposure_of,
    group_of,
    is_alarm,
    p_value_of,
    threshold_of,
)
from tidemill_trainer.registry.messages import version_message
from tidemill_trainer.training.domain.memorisation import MemorisationCheck, canary_origin
from tidemill_trainer.training.domain.run import RunState
from tidemill_trainer.training.messages import run_message, settings_of

FOUND = Memorisation(
    candidates=99,
    planted=5,
    groups=(
        group_of(1, [40, 80], alone=[20, 30], of_base=[50, 50], candidates=99),
        group_of(8, [1, 1], alone=[1, 9], of_base=[50, 60], candidates=99),
    ),
    extraction=Extraction(examples=50, extracted=4, extracted_by_base=1),
)


@pytest.mark.parametrize("canaries", [1, 5, 20, 100])
@pytest.mark.parametrize("candidates", [99, 255])
def test_a_model_that_never_saw_the_canaries_raises_an_alarm_in_one_of_a_hundred_cases_at_most(
    canaries: int, candidates: int
) -> None:
    """Ranks of such a model are uniform; 2,000 runs of it have at most 32 alarms in 99.7 % of cases where 1 % do."""
    chance, runs = Random(canaries * candidates), 2000  # noqa: S311 - a simulation
    draws = ([chance.randint(1, candidates + 1) for _ in range(canaries)] for _ in range(runs))
    threshold = threshold_of(canaries)
    means = [sum(exposure_of(rank, candidates) for rank in ranks) / canaries for ranks in draws]
    alarms = sum(is_alarm(p_value_of(mean, canaries)) for mean in means)

    assert alarms <= 32
    assert alarms == sum(mean >= threshold for mean in means)
    assert alarms > 4  # else it would be a test that finds nothing


@pytest.mark.parametrize(("candidates", "last"), [(99, 1), (199, 2), (255, 2), (699, 7), (999, 10)])
def test_one_canary_raises_an_alarm_where_it_is_found(candidates: int, last: int) -> None:
    for rank, expected in ((last, 1), (last + 1, 0)):
        group = group_of(1, [rank], alone=[rank], of_base=[rank], candidates=candidates)
        found = Memorisation(candidates=candidates, planted=1, groups=(group,))

        assert (found.found, found.alarm, found.exposure >= found.threshold) == (expected, expected, expected)


def test_what_was_left_over_is_said() -> None:
    group = group_of(1, [50], alone=[50], of_base=[50], candidates=99)

    assert str(Memorisation(candidates=99, planted=20, groups=(group,))).startswith("exposure of 1 of 20 canaries 1.00")
    assert str(Memorisation(candidates=99, planted=20)) == "0 of 20 canaries measured: there was no time"


def test_p_values_are_those_of_a_gamma_distribution() -> None:
    for canaries, exposure, expected in (
        (1, 2.0, 0.25),
        (1, 0.0, 1.0),
        (20, 2.29716, 0.01),
        (2, 1 / math.log(2), 0.406),
    ):
        assert p_value_of(exposure, canaries) == pytest.approx(expected, rel=1e-3)
    assert threshold_of(20) == pytest.approx(2.29716, abs=1e-5)
    assert threshold_of(1) == pytest.approx(math.log2(100))
    assert p_value_of(9.9, 200) == pytest.approx(0.0, abs=1e-100)


def test_a_group_has_means_of_exposures_and_counts_those_among_the_first_hundredth() -> None:
    group = group_of(8, [1, 2, 3], alone=[1, 5, 9], of_base=[256, 256, 256], candidates=255)

    assert (group.canaries, group.found, group.found_alone, group.exposure_of_base) == (3, 2, 1, 0.0)
    assert group.exposure == pytest.approx((8 + 7 + math.log2(256 / 3)) / 3)


def test_canaries_are_those_of_a_plan_and_its_seed_and_take_the_repeats_in_turn() -> None:
    check, here = MemorisationCheck(canaries=5, repeats=(1, 8)), canary_origin("acme", "lora")
    planted = check.planted(here)

    assert [repeats for _, repeats in planted] == [1, 8, 1, 8, 1]
    assert planted == check.planted(here)
    assert replace(check, canaries=3).planted(here) == planted[:3]
    assert len({check.planted(origin)[0][0] for origin in (here, canary_origin("acme", "other"), "x")}) == 3
    assert replace(check, seed=1).planted(here)[0] != planted[0]


@pytest.mark.parametrize(
    ("changes", "method", "says"),
    [
        ({"canaries": 201}, "sft", "plan.memorisation.canaries: is 201; it must be 1 to 200"),
        ({"canaries": -1}, "sft", "plan.memorisation.canaries: is -1"),
        ({"candidates": 98}, "sft", "plan.memorisation.candidates: is 98; it must be 99 to 999"),
        ({"canaries": 100, "candidates": 256}, "sft", "canaries x (candidates + 1) may be 25600 at most"),
        ({"examples": 501}, "sft", "plan.memorisation.examples: is 501"),
        ({"seed": -1}, "sft", "plan.memorisation.seed: is -1"),
        ({"repeats": (1, 1)}, "sft", "plan.memorisation.repeats: has 2 numbers; it must have 1 to 8 different ones"),
        ({"repeats": (101,)}, "sft", "plan.memorisation.repeats: has 101; each must be 1 to 100"),
        ({"canaries": 1, "repeats": (1, 2)}, "sft", "and no more than canaries"),
        ({}, "dpo", "plan.memorisation: is set; canaries are answers to learn as they are: use sft or distill"),
    ],
)
async def test_what_cannot_be_planted_is_refused(
    tmp_path: Path, changes: dict[str, object], method: str, says: str
) -> None:
    harness = await Harness(folder=tmp_path).with_base()
    check = replace(MemorisationCheck(), **changes)  # type: ignore[arg-type] # each case gives what the field takes

    with pytest.raises(InvalidInput) as refused:
        await harness.plan(method=method, memorisation=check)

    assert says in refused.value.message


async def test_a_run_keeps_what_was_memorised_and_so_do_its_version_and_its_card(tmp_path: Path) -> None:
    harness = await Harness(folder=tmp_path).with_base()
    harness.trainings.memorisation = FOUND
    name = await harness.queued(memorisation=MemorisationCheck(canaries=4, repeats=(1, 8), candidates=99))

    await harness.train(name)

    run = await harness.run(name)
    version = await harness.registry.versions.get("acme", run.model_version)
    assert (run.state, run.progress.memorisation, version.memorisation) == (RunState.SUCCEEDED, FOUND, FOUND)
    (job,) = harness.trainings.jobs
    assert (job.recipe.memorisation, job.canary_origin) == (run.recipe.memorisation, canary_origin("acme", "lora"))
    shown = version_message(version).memorisation
    assert shown == run_message(run).progress.memorisation
    assert (shown.canaries, shown.planted, shown.found, shown.candidates) == (4, 5, 2, 99)
    assert shown.alarm == FOUND.alarm
    assert (shown.groups[1].repeats, shown.groups[1].found, shown.extraction.extracted) == (8, 2, 4)
    assert (shown.exposure, shown.threshold, shown.p_value) == (FOUND.exposure, FOUND.threshold, FOUND.p_value)
    stored = next(each.object for each in version.artifacts if each.file.path == "README.md")
    assert stored is not None
    card = harness.registry.artifacts.objects[stored.key].decode()
    assert (
        "| Canaries planted | 4 made-up persons with a number each, 1, 8 times in turn; none is of the dataset |"
        in card
    )
    assert f"| Memorised | {FOUND} |" in card
    assert "4 of 50 examples extracted (1 by the base)" in card


async def test_a_run_that_plants_nothing_says_nothing_of_it(tmp_path: Path) -> None:
    harness = await Harness(folder=tmp_path).with_base()
    name = await harness.queued()

    await harness.train(name)

    run = await harness.run(name)
    assert not run_message(run).progress.HasField("memorisation")
    assert "memorisation" not in run.recipe.declared
    assert not version_message(await harness.registry.versions.get("acme", "lora@1")).HasField("memorisation")


async def test_a_plan_keeps_what_it_plants_by_default(tmp_path: Path) -> None:
    harness = await Harness(folder=tmp_path).with_base()
    plan = await harness.plan(memorisation=MemorisationCheck())

    assert plan.settings.recipe.memorisation == MemorisationCheck()
    assert plan.settings.recipe.declared["memorisation"] == {
        "canaries": 20,
        "repeats": (1,),
        "candidates": 255,
        "examples": 50,
        "seed": 0,
    }


def test_a_plan_is_shown_as_it_was_written_with_its_defaults() -> None:
    written = pb.TrainingPlan(dataset="sft", base="smollm2", method="sft")
    assert settings_of(written).memorisation is None

    written.memorisation.SetInParent()
    assert settings_of(written).memorisation == MemorisationCheck()

    written.memorisation.repeats.extend([1, 2])
    written.memorisation.examples = 0
    settings = settings_of(written)
    assert settings.memorisation == MemorisationCheck(repeats=(1, 2), examples=0)


async def test_canaries_are_not_planted_in_all_weights_since_an_adapter_is_compared_with_its_base(
    tmp_path: Path,
) -> None:
    harness = await Harness(folder=tmp_path).with_base()
    with pytest.raises(InvalidInput, match=r"plan.memorisation: is set, and use_peft is false"):
        await harness.plan(lora={}, use_peft=False, memorisation=MemorisationCheck())
