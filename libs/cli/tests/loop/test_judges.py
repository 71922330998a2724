"""Judges of loop.yaml, and the gates that name them."""

from pathlib import Path
from typing import get_args

import pytest
from google.protobuf.json_format import MessageToDict

from libs.cli.tests.loop.conftest import LOOP, TRUTH
from tidemill.evaluator.v1 import judge_pb2 as pb
from tidemill.trainer.v1.training_pb2 import TrainingPlan
from tidemill_cli.loop.judges import Judge
from tidemill_cli.loop.problems import LoopErrors
from tidemill_cli.loop.reader import read_loop
from tidemill_cli.loop.resources import desired_resources
from tidemill_client.judge_templates import TEMPLATES

GATED = LOOP.replace("{suite: truth}, metric: rouge_l,", "{suite: truth}, metric: 'judge:tone',")


def written(folder: Path, text: str) -> Path:
    (folder / "truth.jsonl").write_text(TRUTH)
    file = folder / "loop.yaml"
    file.write_text(text)
    return file


def test_judges_become_resources_and_gates_name_them(tmp_path: Path) -> None:
    made = {(each.kind, each.name): each for each in desired_resources(read_loop(written(tmp_path, GATED)))}

    judge, gate = made["judge", "tone"], made["gate", "helpdesk_gate"]
    assert MessageToDict(judge.message) == {
        "id": "tone",
        "labels": {"team": "support", "tidemill.dev/loop": "helpdesk"},
        "deployment": "helpdesk",
        "mode": "JUDGE_MODE_POINTWISE",
        "rubric": "Is it friendly?",
        "criteria": [{"name": "tone", "scale": 3}],
        "reads": ["JUDGE_INPUT_REFERENCE"],
    }
    assert judge.refers_to == (("deployment", "helpdesk"),)
    assert ("judge", "tone") in gate.refers_to
    assert MessageToDict(gate.message)["require"][1]["metric"] == "judge:tone"


@pytest.mark.parametrize("template", get_args(Judge.model_fields["template"].annotation)[0].__args__)
def test_a_template_stands_for_rubric_criteria_and_what_is_read(tmp_path: Path, template: str) -> None:
    text = LOOP.replace("judges:\n", f"judges:\n  grounded: {{deployment: helpdesk, template: {template}}}\n")

    made = {each.name: each for each in desired_resources(read_loop(written(tmp_path, text)))}

    judge, known = made["grounded"].message, TEMPLATES[template].judge("grounded", "helpdesk")
    assert isinstance(judge, pb.Judge)
    assert (judge.rubric, judge.criteria, judge.reads) == (known.rubric, known.criteria, known.reads)
    assert (judge.deployment, judge.mode) == ("helpdesk", pb.JUDGE_MODE_POINTWISE)


def test_an_answer_that_states_nothing_has_no_points_of_faithfulness() -> None:
    assert "states nothing has 1." in TEMPLATES["faithfulness"].rubric


def test_the_file_knows_all_templates() -> None:
    assert set(get_args(Judge.model_fields["template"].annotation)[0].__args__) == TEMPLATES.keys()


@pytest.mark.parametrize(
    ("right", "wrong", "reported"),
    [
        ("'judge:tone'", "'judge:tune'", "there is no judge 'tune' in this file: did you mean tone?"),
        ("'judge:tone'", "'judge:T'", "'judge:T' is not allowed"),
        ('rubric: "Is it friendly?"', "rubric: ''", "at least 1 character"),
        ('rubric: "Is', 'mode: pairwise, rubric: "Is', "criteria are of pointwise judges"),
        ("{scale: 3}", "{scale: 30}", "less than or equal to 10"),
        ("reads: [reference]", "reads: [mail]", "'mail' is not allowed"),
        ("judges:\n", "judges:\n  all: {members: [tone, tune]}\n", "there is no judge 'tune' in this file"),
        ("judges:\n", "judges:\n  all: {members: [tone], rubric: x}\n", "use either deployment and rubric, or members"),
        ("tone: {deployment: helpdesk,", "tone: {deployment: helpdesk, template: faithfulness,", "leave these out"),
        ("tone: {deployment: helpdesk,", "tone: {deployment: helpdesk, template: truth,", "'truth' is not allowed"),
        ("judges:\n", "judges:\n  all: {deployment: helpdesk}\n", "use either deployment and rubric, or members"),
        ("tone: {deployment: helpdesk", "tone: {deployment: grader", "there is no deployment 'grader'"),
    ],
)
def test_what_is_no_judge_is_a_problem(tmp_path: Path, right: str, wrong: str, reported: str) -> None:
    with pytest.raises(LoopErrors) as found:
        read_loop(written(tmp_path, GATED.replace(right, wrong)))

    assert reported in str(found.value)


def test_a_jury_comes_behind_its_members(tmp_path: Path) -> None:
    text = LOOP.replace(
        "judges:\n", "judges:\n  all: {members: [tone, other]}\n  other: {deployment: helpdesk, rubric: x}\n"
    )

    made = [each for each in desired_resources(read_loop(written(tmp_path, text))) if each.kind == "judge"]

    assert [each.name for each in made] == ["other", "tone", "all"]
    assert made[2].refers_to == (("judge", "tone"), ("judge", "other"))
    assert MessageToDict(made[2].message)["members"] == ["tone", "other"]


def test_a_training_names_the_judge_that_rewards_its_answers(tmp_path: Path) -> None:
    rewards = "[{judge: {id: tone, max_calls: 900}, weight: 2}, {rouge_l: true}]"
    text = LOOP.replace("method: sft", f"method: grpo\n    rewards: {rewards}")

    made = desired_resources(read_loop(written(tmp_path, text)))

    (training,) = (each for each in made if each.kind == "training")
    assert isinstance(training.message, TrainingPlan)
    judged = training.message.rewards[0]
    assert (judged.judge.id, judged.judge.max_calls, judged.weight) == ("tone", 900, 2.0)
    assert ("judge", "tone") in training.refers_to
