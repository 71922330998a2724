"""Slices of cases: what a candidate gains in each, corrected for how many there are."""

from dataclasses import replace

import numpy as np
import pytest

from services.evaluator.tests.builders import ADA, TUNED, cases, write
from services.evaluator.tests.harness import TRUTH, Evaluator
from tidemill_evaluator.evaluations.domain.comparison import Evidence
from tidemill_evaluator.evaluations.domain.evaluation import Evaluation
from tidemill_evaluator.evaluations.domain.slices import OTHER, slices_of
from tidemill_evaluator.evaluations.messages import evaluation_message, listed_message
from tidemill_evaluator.statistics.intervals import BettingIntervals
from tidemill_evaluator.suites.domain.cases import PAIR, Case
from tidemill_evaluator.suites.domain.suite import Suite

FEW = Evidence(min_questions=2, min_slice=3)


def labelled(*values: str, label: str = "topic") -> list[Case]:
    """Return cases with these values of a label; "" for none."""
    return [
        replace(case, labels={label: value} if value else {})
        for case, value in zip(cases(len(values)), values, strict=True)
    ]


def values_of(given: list[Case], *, held_out: bool = False, label: str = "topic") -> list[str]:
    found = slices_of(given, held_out=held_out)
    return [found[case.id].get(label, "") for case in given]


async def evaluated(*values: str, evidence: Evidence = FEW) -> Evaluation:
    """Evaluate a candidate that is right for the topic `files` alone; the baseline is always wrong."""
    evaluator, given = Evaluator(evidence=evidence), labelled(*values)
    await evaluator.suite_crud.create(ADA, Suite(id="truth", project="acme"), given, write())
    await evaluator.with_gate(TRUTH)
    for case in given:
        if case.labels.get("topic") == "files":
            evaluator.inference.says[TUNED, case.question] = case.reference
    await evaluator.register()
    return await evaluator.finish()


def test_cases_are_sliced_by_their_labels_and_by_how_long_they_are() -> None:
    given = labelled("files", "", "shell")
    given[2] = replace(given[2], question="why " * 30)

    assert values_of(given) == ["files", "", "shell"]
    assert values_of(given, label="length") == ["short", "short", "medium"]


def test_a_label_length_of_the_cases_own_is_not_mixed_with_how_long_questions_are() -> None:
    assert values_of(labelled("essay", "", "note", label="length"), label="length") == ["essay", "", "note"]


def test_a_label_that_all_share_slices_nothing_nor_does_one_that_names_each_case() -> None:
    assert values_of(labelled(*["files"] * 30)) == [""] * 30
    assert values_of(labelled(*map(str, range(30)))) == [""] * 30


def test_more_values_than_are_kept_are_one_slice() -> None:
    many = [value for number in range(12) for value in [f"t{number:02}"] * (3 + (number < 9))]

    found = values_of(labelled(*many))

    assert [found.count(f"t{number:02}") for number in range(12)] == [4] * 9 + [3, 0, 0]
    assert found.count(OTHER) == 6


def test_rare_values_of_held_out_cases_are_not_named() -> None:
    given = labelled(*["staff"] * 6, "the only one", "another")

    assert set(values_of(given, held_out=True)) == {"staff", OTHER}
    assert set(values_of(given)) == {"staff", "the only one", "another"}


def test_a_value_of_one_persons_held_out_cases_is_not_named_however_many_they_are() -> None:
    given = [
        replace(case, end_user="ann" if case.labels["topic"] == "board" else f"user {number}")
        for number, case in enumerate(labelled(*["board"] * 7, *["staff"] * 7))
    ]

    assert values_of(given, held_out=True) == [OTHER] * 7 + ["staff"] * 7
    assert values_of(given) == ["board"] * 7 + ["staff"] * 7


def test_pairs_are_no_slices() -> None:
    given = labelled(*[f"pair {number // 2}" for number in range(20)], label=PAIR)

    assert values_of(given, label=PAIR) == [""] * 20


async def test_an_evaluation_says_in_which_slices_the_candidate_gains() -> None:
    done = await evaluated(*["files"] * 3, *["shell"] * 4, "mail")

    assert [(each.label, each.value, each.clusters, each.enough) for each in done.slices] == [
        ("topic", "files", 3, True),
        ("topic", "mail", 1, False),
        ("topic", "shell", 4, True),
    ]
    files, mail, shell = done.slices
    assert files.difference == pytest.approx(files.candidate - files.baseline)
    assert files.difference > 0.3
    assert (files.p_value, files.adjusted_p_value) == (0.01, 0.02)
    assert (shell.p_value, shell.adjusted_p_value) == (1.0, 1.0)
    assert (mail.p_value, mail.adjusted_p_value) == (None, None)


async def test_of_a_gate_only_what_it_requires_is_compared_by_slice() -> None:
    done = await evaluated(*["files"] * 3, *["shell"] * 4)

    assert {each.metric for each in done.slices} == {"rouge_l"}
    assert len({each.metric for each in done.comparisons}) > 1


async def test_of_too_many_slices_the_largest_are_kept_and_the_others_counted() -> None:
    done = await evaluated(*["files"] * 3, *["shell"] * 4, "mail", evidence=replace(FEW, max_slices=2))

    assert [each.value for each in done.slices] == ["files", "shell"]
    assert done.slices_left_out == 1


async def test_slices_are_sent_with_an_evaluation_and_left_out_of_lists() -> None:
    done = await evaluated(*["files"] * 3, *["shell"] * 4, "mail")

    files, mail, _ = evaluation_message(done).slices
    assert (files.value, files.adjusted_p_value, files.enough) == ("files", 0.02, True)
    assert not mail.HasField("p_value")
    assert not listed_message(done).slices
    assert len(listed_message(done).comparisons) == len(done.comparisons)


@pytest.mark.heavy
async def test_a_p_value_is_at_most_alpha_where_the_interval_leaves_nothing_out() -> None:
    intervals, chance = BettingIntervals(), np.random.default_rng(3)

    for gain in (-0.3, 0.0, 0.2, 0.4):
        differences = np.clip(chance.normal(gain, 0.3, 20), -1, 1).tolist()
        p_value = await intervals.p_value(differences)
        interval = await intervals.of_mean(differences, confidence=0.95, bounded=True)
        assert (p_value <= 0.05) is (interval.low > 0 or interval.high < 0)
    assert await intervals.p_value([0.0] * 20) == 1.0
