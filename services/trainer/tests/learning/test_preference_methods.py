"""What TRL's trainers are given for the methods that learn from preferences."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from services.trainer.tests.learning.test_training import job_in
from services.trainer.tests.learning.tiny import write_base
from tidemill_trainer.learning.examples import AnyRow, Labelled, Pair, Row, labelled
from tidemill_trainer.learning.failures import TrainingStopped

GOOD, BAD = Row([1, 2, 3], 2), Row([1, 2, 4, 5], 2)


def trainer_of(folder: Path, method: str, **args: Any) -> Any:  # noqa: ANN401 - of TRL
    """Return the trainer of a method on a tiny base."""
    import torch  # noqa: PLC0415 - seconds of imports

    from tidemill_trainer.learning import training  # noqa: PLC0415 - ditto

    job = job_in(folder / "run", write_base(folder / "base"), method=method, **args)
    base = training._base(job)  # noqa: SLF001 - what it trains on cannot be seen from outside
    rows, _ = training._rows(job, base.tokenizer)  # noqa: SLF001
    return training._trainer(job, rows, base, device="cpu", dtype=torch.float32, guided={})  # noqa: SLF001


def test_a_pair_is_a_good_answer_and_a_bad_one() -> None:
    found = labelled([Pair(GOOD, BAD)], seed=7)

    assert sorted(found, key=lambda each: len(each.tokens)) == [Labelled(GOOD, good=True), Labelled(BAD, good=False)]
    assert found[0].columns.keys() == {"prompt_ids", "completion_ids", "label"}


def test_answers_are_in_an_order_drawn_by_the_seed() -> None:
    pairs: list[AnyRow] = [Pair(Row([number, 0, 1], 2), Row([number, 0, 2], 2)) for number in range(20)]

    orders = [[each.tokens for each in labelled(pairs, seed=seed)] for seed in (7, 7, 8)]

    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != [row.tokens for pair in pairs for row in (pair.chosen, pair.rejected)]  # type: ignore[union-attr]


@pytest.mark.parametrize("good", [True, False])
def test_answers_of_one_label_only_are_refused(*, good: bool) -> None:
    with pytest.raises(TrainingStopped, match=r"[02] of 2 answers are good: .* needs both") as stopped:
        labelled([Labelled(GOOD, good=good)] * 2, seed=7)
    assert stopped.value.reason == "ONE_LABEL_ONLY"


def test_each_prompt_has_the_answer_to_another_one_of_its_batch() -> None:
    from tidemill_trainer.learning.methods import of_other_prompts  # noqa: PLC0415 - seconds of imports

    answers = [[number] for number in range(7)]

    assert of_other_prompts(answers, batch_size=3) == [[2], [0], [1], [5], [3], [4], [5]]


def test_held_out_answers_of_kto_are_paired_alike_whatever_batches_a_trial_learns_from() -> None:
    from datasets import Dataset  # type: ignore[import-untyped] # noqa: PLC0415 - it ships no types

    from tidemill_trainer.learning.methods import LabelledTrainer  # noqa: PLC0415 - ditto

    held_out, trainer = (
        Dataset.from_dict({"completion_ids": [[number] for number in range(8)]}),
        Mock(calculate_KL=True),
    )
    paired = [
        list(LabelledTrainer._prepare_dataset(trainer, held_out, None, sizes, "eval")["KL_completion_ids"])  # noqa: SLF001 - TRL calls it
        for sizes in (
            Mock(per_device_train_batch_size=2, per_device_eval_batch_size=2),
            Mock(per_device_train_batch_size=4, per_device_eval_batch_size=2),
        )
    ]

    assert paired[0] == paired[1]


def test_kto_reads_the_answers_in_the_order_of_its_dataset(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, "kto", per_device_train_batch_size=4)

    batches = [batch["label"].tolist() for batch in trainer.get_train_dataloader()]

    assert [label for batch in batches for label in batch] == list(trainer.train_dataset["label"])
    assert trainer.train_dataset["KL_completion_ids"][1] == trainer.train_dataset["completion_ids"][0]


def test_orpo_learns_answers_and_not_prompts(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 - seconds of imports

    trainer = trainer_of(tmp_path, "orpo")
    batch = trainer.data_collator([trainer.train_dataset[0], trainer.train_dataset[1]])
    with torch.no_grad():
        chosen, rejected, _, _, loss = trainer.concatenated_forward(trainer.model, batch)
        for name, means in (("chosen", chosen), ("rejected", rejected)):
            logits = trainer.model(batch[f"{name}_input_ids"], attention_mask=batch[f"{name}_attention_mask"]).logits
            expected = trainer.get_batch_logps(logits, batch[f"{name}_labels"], average_log_prob=True)
            assert means == pytest.approx(expected, abs=1e-4)

    learnt = (batch["chosen_labels"] != -100).sum(-1)
    assert float(loss) == pytest.approx(float(-(chosen * learnt).sum() / learnt.sum()), abs=1e-4)
    tokenizer = trainer.processing_class
    assert tokenizer.decode([token for token in batch["chosen_labels"][1] if token != -100]) == "It is 1.<|im_end|>\n"
