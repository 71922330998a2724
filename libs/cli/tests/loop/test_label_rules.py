"""A dataset takes examples by labels of the file's review queues."""

from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from libs.cli.tests.loop.test_learning import problems
from tidemill_cli.loop import read_loop
from tidemill_cli.loop.plan import _RESOLVING
from tidemill_cli.loop.resources import desired_resources

HELD_OUT = "held_out: {share: 0.3, group_by: question}\n"
FIELDS = "fields: {correct: {kind: boolean, required: true}}\n"
MORE = """fields:
      correct: {kind: boolean}
      verdict: {kind: category, choices: [good, bad, odd]}
      score: {kind: number, min: 1, max: 5}
      better: {kind: text}
"""


def with_rules(rules: str) -> tuple[tuple[str, str], ...]:
    return (HELD_OUT, f"{HELD_OUT}    labels: {rules}\n"), (FIELDS, MORE)


def test_rules_become_fields_of_the_dataset_which_follows_its_queues(file: Path) -> None:
    text = file.read_text()
    rules = "{require: {answers.verdict: [good], answers.score: {min: 3}}, exclude: {answers.correct: [false]}}"
    for old, new in with_rules(rules):
        text = text.replace(old, new)
    file.write_text(text)

    resources = desired_resources(read_loop(file))

    (dataset,) = [each for each in resources if each.kind == "dataset"]
    assert MessageToDict(dataset.message)["labelRules"] == [
        {"queue": "answers", "field": "verdict", "values": ["good"]},
        {"queue": "answers", "field": "score", "min": 3.0},
        {"queue": "answers", "field": "correct", "values": ["false"], "exclude": True},
    ]
    assert dataset.refers_to == (("review_queue", "answers"),)
    kinds = [each.kind for each in resources]
    assert kinds.index("review_queue") < kinds.index("dataset")
    assert "dataset" in _RESOLVING
    assert "label_rules" in dataset.fields


@pytest.mark.parametrize(
    ("rules", "path", "message"),
    [
        ("{require: {answer.verdict: [good]}}", "require.answer.verdict", "did you mean answers?"),
        ("{require: {answers.verdikt: [good]}}", "require.answers.verdikt", "did you mean verdict?"),
        ("{require: {answers.verdict: [god]}}", "require.answers.verdict", "did you mean good?"),
        ("{exclude: {answers.verdict: {min: 1}}}", "exclude.answers.verdict", "use a list of values"),
        ("{require: {answers.score: [good]}}", "require.answers.score", "use {min: ..., max: ...}"),
        ("{require: {answers.better: [good]}}", "require.answers.better", "is a text"),
        ("{require: {answers.correct: [maybe]}}", "require.answers.correct", "has no value 'maybe'"),
        (
            "{require: {answers.verdict: [good, odd]}, exclude: {answers.verdict: [odd]}}",
            "exclude.answers.verdict",
            "required with odd, too",
        ),
        (
            "{require: {answers.score: {min: 3}}, exclude: {answers.score: {min: 2}}}",
            "exclude.answers.score",
            "required with every value",
        ),
        ('{require: {answers.correct: [true, "true"]}}', "require.answers.correct", "a value twice"),
    ],
)
def test_rules_about_what_is_not_there_and_contradictions_are_reported(
    file: Path, rules: str, path: str, message: str
) -> None:
    found = problems(file, *with_rules(rules))

    assert message in found[f"datasets.helpdesk_sft.labels.{path}"]


def test_rules_that_narrow_each_other_are_fine(file: Path) -> None:
    text = file.read_text()
    for old, new in with_rules("{require: {answers.score: {min: 2}}, exclude: {answers.score: {min: 4, max: 5}}}"):
        text = text.replace(old, new)
    file.write_text(text)

    (dataset,) = [each for each in desired_resources(read_loop(file)) if each.kind == "dataset"]

    assert len(MessageToDict(dataset.message)["labelRules"]) == 2


def test_more_rules_than_ingest_takes_are_reported(file: Path) -> None:
    many = ", ".join(f"answers.f{number}: [true]" for number in range(21))

    found = problems(file, *with_rules(f"{{exclude: {{{many}}}}}"))

    assert found["datasets.helpdesk_sft.labels"] == "has 21 rules, and 20 is the limit"


@pytest.mark.parametrize(
    "rules",
    [
        "{require: {verdict: [good]}}",
        "{require: {answers.verdict: []}}",
        "{only: {}}",
        "{require: {answers.score: {min: 3, max: 2}}}",
        "{require: {answers.score: {min: .inf}}}",
    ],
)
def test_rules_of_another_shape_are_refused(file: Path, rules: str) -> None:
    assert any(path.startswith("datasets.helpdesk_sft.labels") for path in problems(file, *with_rules(rules)))
