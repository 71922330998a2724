from pathlib import Path

import pytest

from libs.cli.tests.loop.test_learning import problems
from tidemill.evaluator.v1.evaluation_pb2 import Gate
from tidemill_cli.loop import read_loop
from tidemill_cli.loop.resources import desired_resources

DERIVED = ("suites:\n", "derived:\n  helpdesk_small: {source: helpdesk_lora}\nsuites:\n")
OF_SMALL = [
    ("{follow: helpdesk_lora, start_with: small}", "{follow: helpdesk_small, start_with: small}"),
    ("candidate: helpdesk_lora", "candidate: helpdesk_small"),
]


def test_what_is_derived_of_a_training_is_judged_by_a_gate_and_followed(file: Path) -> None:
    text = file.read_text()
    for old, new in [DERIVED, *OF_SMALL]:
        text = text.replace(old, new)
    file.write_text(text)

    (gate,) = (each.message for each in desired_resources(read_loop(file)) if each.kind == "gate")

    assert isinstance(gate, Gate)
    assert (gate.candidate, gate.deployment) == ("helpdesk_small", "helpdesk")


@pytest.mark.parametrize(
    ("edits", "path", "message"),
    [
        ([("helpdesk_small: {", "helpdesk_lora: {")], "derived.helpdesk_lora", "is the name of a model or training"),
        ([("source: helpdesk_lora", "source: lora")], "derived.helpdesk_small.source", "there is no training 'lora'"),
        (
            [*OF_SMALL, ("source: helpdesk_lora", "source: small")],
            "gates.helpdesk_gate.require[0].cases.dataset",
            "no training of this file makes what helpdesk_small is derived from: use a suite",
        ),
        (
            [*OF_SMALL, ("source: helpdesk_lora", "source: helpdesk_small")],
            "gates.helpdesk_gate.require[0].cases.dataset",
            "no training of this file",
        ),
        (
            [OF_SMALL[1], ("{follow: helpdesk_lora, start_with: small}", "small")],
            "deployments.helpdesk.model",
            "use {follow: helpdesk_small, start_with: small}",
        ),
    ],
)
def test_a_wrong_derived_model_is_reported_where_it_stands(
    file: Path, edits: list[tuple[str, str]], path: str, message: str
) -> None:
    assert message in problems(file, DERIVED, *edits)[path]
