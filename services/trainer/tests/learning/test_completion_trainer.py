"""Loss and gradients of CompletionTrainer equal TRL's."""

from pathlib import Path
from typing import Any

import pytest

from services.trainer.tests.learning.tiny import example_lines, write_base
from tidemill_trainer.learning.examples import read_examples, rows_of


def trainer_in(folder: Path, *, of_trl: bool) -> Any:  # noqa: ANN401 - of TRL
    import torch  # noqa: PLC0415 - seconds of imports
    from datasets import Dataset  # type: ignore[import-untyped] # noqa: PLC0415 - it ships no types
    from peft import LoraConfig  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415
    from trl.trainer.sft_config import SFTConfig  # noqa: PLC0415
    from trl.trainer.sft_trainer import SFTTrainer  # noqa: PLC0415

    from tidemill_trainer.learning.completion_trainer import CompletionTrainer  # noqa: PLC0415

    examples = folder / "train.jsonl"
    examples.write_bytes(example_lines(8))
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    rows, _ = rows_of(read_examples(examples), tokenizer, max_length=1024)
    torch.manual_seed(7)
    return (SFTTrainer if of_trl else CompletionTrainer)(
        model=AutoModelForCausalLM.from_pretrained(folder / "base"),
        args=SFTConfig(
            output_dir=str(folder / "out"),
            use_cpu=True,
            bf16=False,
            report_to="none",
            seed=7,
            completion_only_loss=True,
        ),
        train_dataset=Dataset.from_list([dict(row.columns) for row in rows]),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False),
    )


@pytest.mark.parametrize("items", [None, 64])
def test_loss_and_gradients_are_those_of_trl(tmp_path: Path, items: int | None) -> None:
    import torch  # noqa: PLC0415

    write_base(tmp_path / "base")
    found: list[tuple[float, dict[str, Any]]] = []
    for of_trl in (True, False):
        trainer = trainer_in(tmp_path, of_trl=of_trl)
        batch = next(iter(trainer.get_train_dataloader()))
        assert (batch["labels"] == -100).any()  # a prompt stands before every completion
        loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=items)
        loss.backward()
        gradients = {name: each.grad for name, each in trainer.model.named_parameters() if each.grad is not None}
        found.append((loss.item(), gradients))
    (expected_loss, expected), (loss_found, gradients_found) = found
    assert loss_found == pytest.approx(expected_loss, rel=1e-5)
    assert expected
    assert gradients_found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients_found[name], gradient, rtol=1e-3, atol=1e-6)


def test_a_base_that_cannot_leave_positions_out_is_trained_as_trl_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl.trainer.sft_trainer import SFTTrainer  # noqa: PLC0415

    write_base(tmp_path / "base")
    trainer = trainer_in(tmp_path, of_trl=False)
    base = type(trainer.model.get_base_model())
    monkeypatch.setattr(base, "forward", lambda *_: None)
    asked: list[object] = []
    monkeypatch.setattr(SFTTrainer, "compute_loss", lambda *_, **given: asked.append(given))
    trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader())))
    assert asked
