"""Reward models: what is written of them, what they are measured on, and which bases have none."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.trainer.tests.learning.test_training import RecordedReports, job_in, trained
from services.trainer.tests.learning.tiny import example_lines, write_base
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.learning.job import Job, ModelFiles
from tidemill_trainer.training.domain.fit import Choice
from tidemill_trainer.training.domain.model_card import check_adapter_config


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


def job_with_held_out(folder: Path, base: Path, lines: bytes, **args: Any) -> Job:  # noqa: ANN401 - of TRL
    job = job_in(folder, base, method="reward", **args)
    held_out = folder / "held_out.jsonl"
    held_out.write_bytes(lines)
    return replace(job, held_out_examples=str(held_out))


def scored(reports: RecordedReports) -> list[dict[str, Any]]:
    return [line for line in reports.lines if line["event"] == "scored"]


def test_a_reward_model_learns_which_answers_are_preferred_and_is_measured_on_pairs_that_it_never_saw(
    tmp_path: Path, base: Path
) -> None:
    reports = RecordedReports()
    job = job_with_held_out(tmp_path / "run", base, example_lines(40, rejecting=True), max_steps=12)

    trained(job, reports)

    assert scored(reports) == [{"event": "scored", "pairs": 40, "correct": 40}]
    assert reports.lines[-1]["event"] == "scored"


def test_what_is_written_is_an_adapter_with_a_head_that_scores_as_it_did_in_the_training(
    tmp_path: Path, base: Path
) -> None:
    import torch  # noqa: PLC0415 - seconds of imports
    from peft import PeftModel  # noqa: PLC0415 - ditto
    from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: PLC0415 - ditto

    job = job_with_held_out(tmp_path / "run", base, example_lines(8, rejecting=True), max_steps=12)
    trained(job, RecordedReports())

    config = json.loads((Path(job.made) / "adapter_config.json").read_text(encoding="utf-8"))
    check_adapter_config(config, base="tiny@1", scores=True)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    fresh = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, pad_token_id=tokenizer.pad_token_id, dtype=torch.float32
    )
    model = PeftModel.from_pretrained(fresh, job.made).eval()
    turns = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "What is 4?"}]
    good, bad = (
        tokenizer.apply_chat_template(
            [*turns, {"role": "assistant", "content": answer}], return_tensors="pt", return_dict=True
        )
        for answer in ("It is 1.", "It is unknown.")
    )
    with torch.no_grad():
        assert float(model(**good).logits) > float(model(**bad).logits)


@pytest.mark.parametrize("lines", [b"", example_lines(4, words=80, rejecting=True)])
def test_where_no_held_out_pair_fits_nothing_is_measured(tmp_path: Path, base: Path, lines: bytes) -> None:
    reports = RecordedReports()

    trained(job_with_held_out(tmp_path / "run", base, lines, max_steps=1, max_length=256), reports)

    assert scored(reports) == []


def test_of_very_many_held_out_pairs_some_are_drawn_by_the_seed(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer  # noqa: PLC0415 - seconds of imports

    from tidemill_trainer.learning import reward  # noqa: PLC0415 - ditto

    monkeypatch.setattr(reward, "MAX_MEASURED", 5)
    path, tokenizer = tmp_path / "held_out.jsonl", AutoTokenizer.from_pretrained(base)
    path.write_bytes(example_lines(20, rejecting=True))

    drawn = [reward.held_out_pairs(str(path), tokenizer, max_length=512, seed=seed) for seed in (7, 7, 8)]

    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 5


def test_a_base_whose_type_has_no_model_of_sequence_classification_is_refused_by_name(tmp_path: Path) -> None:
    from transformers import AutoTokenizer  # noqa: PLC0415 - seconds of imports
    from transformers.models.auto import CONFIG_MAPPING  # noqa: PLC0415 - ditto

    from tidemill_trainer.learning.loading import scoring_config  # noqa: PLC0415 - ditto

    tokenizer = AutoTokenizer.from_pretrained(write_base(tmp_path / "base"))

    with pytest.raises(TrainingStopped, match="no model of sequence classification for mamba, the type of m@1") as no:
        scoring_config(CONFIG_MAPPING["mamba"](), tokenizer, base="m@1")

    assert no.value.reason == "BASE_NOT_TRAINABLE"


def test_a_reward_model_is_estimated_to_take_no_logits_of_the_vocabulary(tmp_path: Path, base: Path) -> None:
    import torch  # noqa: PLC0415 - seconds of imports
    from peft import LoraConfig  # noqa: PLC0415 - ditto

    from tidemill_trainer.learning import training  # noqa: PLC0415 - ditto
    from tidemill_trainer.learning.step_memory import Computing, StepMemory  # noqa: PLC0415 - ditto

    needed, positions, vocabulary = {}, 0, 0
    for method in ("dpo", "reward"):
        job = job_in(tmp_path / method, base, method=method, per_device_train_batch_size=16)
        loaded = training._base(job)  # noqa: SLF001 - what it trains on cannot be seen from outside
        rows, _ = training._rows(job, loaded.tokenizer)  # noqa: SLF001
        computing = Computing(
            weights=torch.float32,
            dtype=torch.float32,
            device="cpu",
            optimizer="sgd",
            stored={},
            scores=job.makes_reward_model,
        )
        memory = StepMemory(loaded.config, LoraConfig(**job.lora), rows, computing)
        needed[method] = memory.needed_bytes(Choice.of(job.args), batches=5)
        positions, vocabulary = 16 * 2 * max(len(row.tokens) for row in rows), len(loaded.tokenizer)

    assert needed["dpo"] - needed["reward"] > positions * vocabulary * 4


def test_a_reward_model_is_counted_in_the_format_that_it_is_loaded_in(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 - seconds of imports
    from safetensors.torch import save_file  # noqa: PLC0415 - ditto

    from tidemill_trainer.learning.fitting import _mapped_by_rewards, _reward_bytes  # noqa: PLC0415 - ditto

    for kind in (torch.bfloat16, torch.float32):
        (tmp_path / str(kind)).mkdir()
        save_file({"a": torch.zeros(300, 40, dtype=kind)}, tmp_path / str(kind) / "model.safetensors")

    def counted(stored: torch.dtype, loaded: torch.dtype, device: str) -> tuple[int, int]:
        files = ModelFiles(adapter=str(tmp_path / "adapter"), base=str(tmp_path / str(stored)))
        job = replace(job_in(tmp_path / "run", tmp_path), reward_models={"judge@1": files})
        mapped = _mapped_by_rewards(job, loaded, device=device)
        assert _mapped_by_rewards(replace(job, base=files.base), loaded, device=device) == 0
        return _reward_bytes(job, loaded, device=device), mapped

    assert counted(torch.bfloat16, torch.float32, "cpu") == (48_000, 0)
    assert counted(torch.float32, torch.bfloat16, "cpu") == (24_000, 0)
    assert counted(torch.float32, torch.float32, "cpu") == (0, 48_000)
    assert counted(torch.float32, torch.bfloat16, "cuda") == (24_000, 0)
