"""What trainings of loop.yaml plant, and what gates ask of it."""

from pathlib import Path

from libs.cli.tests.loop.test_learning import problems
from tidemill.evaluator.v1.evaluation_pb2 import Gate
from tidemill.trainer.v1.training_pb2 import TrainingPlan
from tidemill_cli.loop import read_loop
from tidemill_cli.loop.resources import desired_resources


def test_what_a_training_plants_and_how_much_of_it_a_gate_lets_a_model_memorise_are_declared(file: Path) -> None:
    first = "candidate: helpdesk_lora\n"
    text = file.read_text(encoding="utf-8").replace("method: sft", "method: sft\n    memorisation: {repeats: [1, 8]}")
    file.write_text(text.replace(first, f"{first}    max_exposure: 2.3\n"), encoding="utf-8")

    found = {each.kind: each.message for each in desired_resources(read_loop(file))}

    plan, gate = found["training"], found["gate"]
    assert isinstance(plan, TrainingPlan)
    assert isinstance(gate, Gate)
    planted = plan.memorisation
    assert (planted.canaries, list(planted.repeats), planted.candidates, planted.examples) == (20, [1, 8], 255, 50)
    assert gate.max_exposure == 2.3


def test_canaries_are_planted_by_methods_that_learn_answers_as_they_are(file: Path) -> None:
    edit = ("method: sft", "method: dpo\n    memorisation: {canaries: 5}")

    message = "memorisation belongs to method: sft or distill, which learn from answers as they are"
    assert message in problems(file, edit)["training.helpdesk_lora"]


def test_a_gate_asks_for_no_exposure_that_its_candidate_does_not_measure(file: Path) -> None:
    edit = ("candidate: helpdesk_lora\n", "candidate: helpdesk_lora\n    max_exposure: 2.3\n")

    message = problems(file, edit)["gates.helpdesk_gate.max_exposure"]

    assert message.startswith("helpdesk_lora has no exposure, so that the gate would never hold")


def test_a_gate_asks_for_an_exposure_that_can_be_exceeded(file: Path) -> None:
    planted = ("method: sft", "method: sft\n    memorisation: {candidates: 255}")
    bound = ("candidate: helpdesk_lora\n", "candidate: helpdesk_lora\n    max_exposure: 8\n")

    message = problems(file, planted, bound)["gates.helpdesk_gate.max_exposure"]

    assert message.startswith("is 8 bits, and 255 candidates can show 8.00 at most, so that the gate would always hold")
