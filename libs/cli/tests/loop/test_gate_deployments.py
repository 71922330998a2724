"""The deployment that a gate names, where it follows another model than the candidate."""

from pathlib import Path

import pytest

from libs.cli.tests.loop.test_learning import problems
from tidemill.evaluator.v1.evaluation_pb2 import Gate
from tidemill_cli.loop import read_loop
from tidemill_cli.loop.resources import desired_resources

PREFERRED = """training:
  helpdesk_preferred: {dataset: helpdesk_sft, base: small}
"""
PREFERRED_GATE = """gates:
  preferred_gate:
    candidate: helpdesk_preferred
    deployment: helpdesk
    require: [{cases: {suite: truth}, metric: rouge_l}]
"""


def test_a_gate_names_the_deployment_with_whose_live_model_it_compares_what_is_not_followed(file: Path) -> None:
    file.write_text(file.read_text().replace("training:\n", PREFERRED).replace("gates:\n", PREFERRED_GATE))

    messages = [each.message for each in desired_resources(read_loop(file)) if isinstance(each.message, Gate)]

    assert {each.id: each.deployment for each in messages} == {
        "preferred_gate": "helpdesk",
        "helpdesk_gate": "helpdesk",
    }


@pytest.mark.parametrize(
    ("edits", "path", "message"),
    [
        ([("deployment: helpdesk\n    require", "deployment: desk\n    require")], "gates.preferred_gate.deployment",
         "did you mean helpdesk?"),
        ([("    deployment: helpdesk\n    require", "    require")], "gates.preferred_gate", "(deployment: NAME)"),
        ([("candidate: helpdesk_preferred", "candidate_prompt: answer")], "gates.preferred_gate",
         "deployment belongs to a gate of a model"),
    ],
)  # fmt: skip
def test_a_gate_s_deployment_is_one_of_the_file_and_that_of_a_model(
    file: Path, edits: list[tuple[str, str]], path: str, message: str
) -> None:
    found = problems(file, ("training:\n", PREFERRED), ("gates:\n", PREFERRED_GATE), *edits)

    assert message in found[path]


def test_a_gate_of_a_rollout_names_no_other_deployment(file: Path) -> None:
    other = "  other: {model: small, prompt: answer}\nprices:\n"

    found = problems(
        file,
        ("prices:\n", other),
        ("    candidate: helpdesk_lora\n", "    candidate: helpdesk_lora\n    deployment: other\n"),
    )

    assert "several deployments (helpdesk, other)" in found["gates.helpdesk_gate"]


def test_what_is_never_live_is_not_evaluated_again(file: Path) -> None:
    weekly = (
        "    deployment: helpdesk\n    require",
        "    deployment: helpdesk\n    reevaluate: {every: 7d}\n    require",
    )

    found = problems(file, ("training:\n", PREFERRED), ("gates:\n", PREFERRED_GATE), weekly)

    assert set(found) == {"gates.preferred_gate.reevaluate"}
    assert "helpdesk does not follow helpdesk_preferred" in found["gates.preferred_gate.reevaluate"]


def test_what_a_gate_s_own_deployment_follows_is_evaluated_again(file: Path) -> None:
    own, text = "    candidate: helpdesk_lora\n", file.read_text()
    file.write_text(text.replace(own, f"{own}    deployment: helpdesk\n    reevaluate: {{every: 7d}}\n"))

    assert read_loop(file).gates["helpdesk_gate"].reevaluate
