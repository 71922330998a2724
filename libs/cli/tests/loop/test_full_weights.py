from pathlib import Path

from tidemill.trainer.v1.training_pb2 import TrainingPlan
from tidemill_cli.loop import read_loop
from tidemill_cli.loop.resources import desired_resources


def test_a_training_may_be_of_all_weights_and_is_of_an_adapter_otherwise(file: Path) -> None:
    def trained_by_an_adapter() -> bool:
        (plan,) = (each.message for each in desired_resources(read_loop(file)) if each.kind == "training")
        assert isinstance(plan, TrainingPlan)
        return plan.use_peft

    before = trained_by_an_adapter()
    text = file.read_text(encoding="utf-8").replace("method: sft", "method: sft\n    use_peft: false")
    file.write_text(text, encoding="utf-8")

    assert (before, trained_by_an_adapter()) == (True, False)


def test_tokens_that_a_training_adds_are_declared(file: Path) -> None:
    text = file.read_text(encoding="utf-8").replace("method: sft", "method: sft\n    added_tokens: [heat pump, COP]")
    file.write_text(text, encoding="utf-8")

    (plan,) = (each.message for each in desired_resources(read_loop(file)) if each.kind == "training")

    assert isinstance(plan, TrainingPlan)
    assert list(plan.added_tokens) == ["heat pump", "COP"]
