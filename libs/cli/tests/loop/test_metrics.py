"""The section metrics of loop.yaml."""

from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from libs.cli.tests.loop.test_learning import rule
from libs.cli.tests.loop.test_reader import RIGHT, problems_of, written
from tidemill_cli.loop import read_loop
from tidemill_cli.loop.resources import desired_resources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    (tmp_path / "answer.jinja").write_text("{{ question }}")
    return tmp_path


METRICS = """\
metrics:
  reopened: {kind: boolean, optimise: min, matures_after: 7d, value: {unit: EUR, of: -12.5}, weights: {reviewer: 3}}
  stars: {kind: number, min: 1, max: 5, optimise: max, level: conversation}
  left: {kind: category, choices: [bought, gone], good: [bought], value: {unit: EUR, of: {bought: 30}}}
"""


def test_metrics_become_resources(folder: Path) -> None:
    made = {each.name: each for each in desired_resources(read_loop(written(folder, RIGHT + METRICS)))}

    reopened, stars = MessageToDict(made["reopened"].message), MessageToDict(made["stars"].message)
    left = MessageToDict(made["left"].message)
    assert (reopened["kind"], reopened["optimise"]) == (
        "FEEDBACK_METRIC_KIND_BOOLEAN",
        "FEEDBACK_METRIC_OPTIMISE_MIN",
    )
    assert reopened["maturesAfter"] == "604800s"
    assert reopened["value"] == {"unit": "EUR", "amount": -12.5}
    assert reopened["weights"] == {"user": 1.0, "reviewer": 3.0, "judge": 1.0}
    assert (reopened["level"], stars["level"]) == (
        "FEEDBACK_METRIC_LEVEL_INFERENCE",
        "FEEDBACK_METRIC_LEVEL_CONVERSATION",
    )
    assert (stars["min"], stars["max"], stars["kind"]) == (1.0, 5.0, "FEEDBACK_METRIC_KIND_NUMBER")
    assert left["goodChoices"] == ["bought"]
    assert (left["choices"], left["value"]) == (["bought", "gone"], {"unit": "EUR", "amounts": {"bought": 30.0}})


def test_what_no_value_means_is_false_of_a_boolean_and_said_of_a_number(folder: Path) -> None:
    metrics = METRICS.replace("max, level: conversation", "max, matures_after: 30d, absent: 3")
    made = {each.name: each for each in desired_resources(read_loop(written(folder, RIGHT + metrics)))}

    reopened, stars = MessageToDict(made["reopened"].message), MessageToDict(made["stars"].message)
    assert (reopened.get("absent", False), "absentNumber" in reopened) == (False, False)
    assert (stars["absentNumber"], stars["maturesAfter"], "absent" in stars) == (3.0, "2592000s", False)


@pytest.mark.parametrize(
    ("right", "wrong", "reported"),
    [
        ("min: 1, max: 5", "min: 1", "a number has a min and a max"),
        ("choices: [bought, gone], ", "", "a category has choices"),
        ("kind: boolean", "kind: boolean, choices: [a, b]", "a category has choices, and nothing else"),
        ("good: [bought]", "good: [sold]", "good: sold is none of the choices"),
        ("good: [bought]", "good: [bought, gone]", "good: has all choices"),
        ("kind: boolean", "kind: boolean, good: [a]", "good: only categories have it"),
        ("kind: category", "kind: category, optimise: max", "choices have no order; name the better ones in good"),
        ("of: -12.5", "of: {a: 1}", r"value.of is a map of choices for a category"),
        ("of: -12.5", "of: dear", "number"),
        ("kind: number", "kind: stars", "boolean"),
        ("kind: number", "kind: number, matures_after: 7d", "only booleans and numbers of inferences mature"),
        ("max, level: conversation", "max, matures_after: 7d", "absent: say which number no value means"),
        ("max, level: conversation", "max, matures_after: 7d, absent: true", "absent: say which number"),
        ("matures_after: 7d", "matures_after: 7d, absent: 1.5", "absent: is true or false of a boolean"),
        ("matures_after: 7d", "absent: true", "is nothing without matures_after"),
    ],
)
def test_what_is_no_metric_is_a_problem_at_its_line(folder: Path, right: str, wrong: str, reported: str) -> None:
    problems = problems_of(folder, RIGHT + METRICS.replace(right, wrong))

    assert any(reported in problem[1] for problem in problems.values()), problems


def test_a_category_with_good_choices_is_read_by_rollouts(file: Path) -> None:
    text = file.read_text()
    for old, new in rule("ended"):
        text = text.replace(old, new)
    file.write_text(text)

    assert [*read_loop(file).rollouts["helpdesk"].abort.metrics] == ["ended"]
