"""Trainings of all weights of a tiny model: what they leave is a model of its own, whatever interrupts them."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from services.trainer.tests.learning.test_training import RecordedReports, job_in, trained
from services.trainer.tests.learning.tiny import write_base
from tidemill_core.models.manifest import Manifest
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.learning.job import Job

ON_PREFERENCES = ("dpo", "orpo", "kto")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


def full_job(folder: Path, base: Path, **args: Any) -> Job:  # noqa: ANN401 - of a recipe
    return job_in(folder, base, use_peft=False, **({"learning_rate": 0.01} | args))


def tensors_in(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file  # noqa: PLC0415 - seconds of imports

    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


def test_all_weights_are_trained_to_a_model_that_is_loaded_without_its_base(tmp_path: Path, base: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - seconds of imports

    reported, job = RecordedReports(), full_job(tmp_path / "run", base)

    trained(job, reported)

    made, before = Path(job.made), tensors_in(base)
    after = tensors_in(made)
    assert after.keys() == before.keys()
    assert [name for name in before if (after[name] == before[name]).all()] == []
    assert reported.losses[-1] < reported.losses[0]  # type: ignore[operator] # they are numbers
    names = {path.name for path in base.iterdir()}
    assert {path.name for path in made.iterdir()} == names
    model, tokenizer = AutoModelForCausalLM.from_pretrained(made), AutoTokenizer.from_pretrained(made)
    assert model.config.vocab_size == len(tokenizer)
    config = (made / "config.json").read_bytes()
    assert config == (base / "config.json").read_bytes()


def test_a_killed_training_of_all_weights_goes_on_from_its_checkpoint_to_the_same_model(
    tmp_path: Path, base: Path
) -> None:
    whole, rest = RecordedReports(), RecordedReports()
    expected = trained(full_job(tmp_path / "whole", base), whole)
    with pytest.raises(KeyboardInterrupt):
        trained(full_job(tmp_path / "killed", base), RecordedReports(ends_after=3))

    found = trained(full_job(tmp_path / "killed", base), rest)

    assert found == expected
    assert rest.lines[1]["step"] == 2
    assert rest.losses == whole.losses[2:]


def test_a_training_of_all_weights_killed_after_its_last_step_only_saves(tmp_path: Path, base: Path) -> None:
    job, second = full_job(tmp_path / "killed", base), RecordedReports()
    expected = trained(job, RecordedReports())
    shutil.rmtree(job.made)

    assert trained(job, second) == expected
    assert [line["event"] for line in second.lines] == ["fitted", "begun"]


def test_weights_are_stored_as_the_base_stores_them_and_trained_in_float32(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 - seconds of imports
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - ditto

    base = write_base(tmp_path / "base")
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(base)
    job = replace(full_job(tmp_path / "run", base, learning_rate=1e-3), numeric_format="bfloat16")

    trained(job, RecordedReports())

    assert {tensor.dtype for tensor in tensors_in(Path(job.made)).values()} == {torch.bfloat16}
    kept = tensors_in(job.checkpoints / "checkpoint-4")
    assert {tensor.dtype for tensor in kept.values()} == {torch.float32}


def test_a_base_whose_tensors_transformers_names_otherwise_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 - seconds of imports
    from safetensors.torch import save_file  # noqa: PLC0415 - ditto

    base = write_base(tmp_path / "base")
    save_file({**tensors_in(base), "model.extra.weight": torch.zeros(2)}, base / "model.safetensors", {"format": "pt"})

    with pytest.raises(TrainingStopped, match=r"tiny@1 stores model\.extra\.weight") as stopped:
        trained(full_job(tmp_path / "run", base), RecordedReports())
    assert stopped.value.reason == "BASE_NOT_TRAINABLE"


def test_all_weights_learn_from_examples_that_are_packed(tmp_path: Path, base: Path) -> None:
    reported = RecordedReports()

    trained(full_job(tmp_path / "run", base, packing=True, max_length=200), reported)

    assert reported.losses[-1] < reported.losses[0]  # type: ignore[operator] # they are numbers


@pytest.mark.parametrize("method", ON_PREFERENCES)
def test_all_weights_learn_from_preferences_against_the_base_as_it_was(tmp_path: Path, base: Path, method: str) -> None:
    reported, rest = RecordedReports(), RecordedReports()
    job = full_job(tmp_path / "run", base, method=method, learning_rate=1e-3)

    expected = trained(job, reported)

    assert reported.losses[-1] < reported.losses[0]  # type: ignore[operator] # they are numbers
    killed = full_job(tmp_path / "killed", base, method=method, learning_rate=1e-3)
    with pytest.raises(KeyboardInterrupt):
        trained(killed, RecordedReports(ends_after=3))
    assert trained(killed, rest) == expected, "its reference is the base, and not what it was trained to by then"


def test_what_all_weights_need_is_at_least_weights_gradients_and_moments(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.trainer.tests.learning.test_step_memory import fit_in  # noqa: PLC0415 - seconds of imports
    from tidemill_trainer.learning import fitting  # noqa: PLC0415 - ditto

    monkeypatch.setattr(fitting, "taken_bytes", lambda: 0)  # else what other tests left

    numbers = sum(tensor.numel() for tensor in tensors_in(base).values())
    adapter, full = fit_in(job_in(tmp_path / "run", base)), fit_in(full_job(tmp_path / "run", base))
    without_moments = fit_in(full_job(tmp_path / "run", base, optim="sgd"))
    accumulated = fit_in(full_job(tmp_path / "run", base, per_device_train_batch_size=1, gradient_accumulation_steps=2))
    once = fit_in(full_job(tmp_path / "run", base, per_device_train_batch_size=1))

    assert full.needed_bytes - without_moments.needed_bytes == 8 * numbers
    assert full.needed_bytes - adapter.needed_bytes > 8 * numbers
    assert accumulated.needed_bytes - once.needed_bytes >= 4 * numbers


def test_what_does_not_fit_is_refused_with_both_figures_and_names_an_adapter(tmp_path: Path, base: Path) -> None:
    with pytest.raises(TrainingStopped, match=r"needs \d+ bytes .* its limit is 1000: .* or an adapter") as stopped:
        trained(replace(full_job(tmp_path / "run", base), memory_bytes=1000), RecordedReports())
    assert stopped.value.reason == "OUT_OF_MEMORY"


@pytest.mark.parametrize(("total", "reason"), [(2**40, "DISK_FULL"), (1, "DISK_TOO_SMALL")])
def test_checkpoints_and_weights_that_the_disk_has_no_place_for_are_refused_with_both_figures(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch, *, total: int, reason: str
) -> None:
    from tidemill_trainer.learning.training import train  # noqa: PLC0415 - seconds of imports

    numbers = sum(tensor.numel() for tensor in tensors_in(base).values())
    needed = 3 * 12 * numbers + 4 * numbers
    monkeypatch.setattr("shutil.disk_usage", lambda _: Mock(free=needed - 1, total=total))
    refused: Any = RecordedReports()

    with pytest.raises(TrainingStopped, match=rf"need {needed} bytes of disk, where .*({needed - 1}|1)") as stopped:
        train(full_job(tmp_path / "run", base), refused)
    assert stopped.value.reason == reason


def test_what_saving_takes_of_memory_is_estimated_too(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: PLC0415 - seconds of imports

    from services.trainer.tests.learning.test_step_memory import fit_in  # noqa: PLC0415 - ditto
    from tidemill_trainer.learning import fitting  # noqa: PLC0415 - ditto

    monkeypatch.setattr(fitting, "taken_bytes", lambda: 0)
    monkeypatch.setattr(fitting, "format_of", lambda *_, **__: torch.bfloat16)
    monkeypatch.setattr("tidemill_trainer.learning.step_memory.StepMemory.needed_bytes", lambda *_, **__: 0)
    numbers = sum(tensor.numel() for tensor in tensors_in(base).values())

    without_moments = fit_in(full_job(tmp_path / "run", base, optim="sgd"))

    assert without_moments.needed_bytes == fitting.WORKING_BYTES + (4 + 2) * numbers


def test_files_are_no_larger_than_allowed(tmp_path: Path, base: Path) -> None:
    job = replace(full_job(tmp_path / "run", base, max_steps=1), max_file_bytes=50_000)

    trained(job, RecordedReports())

    sizes = {file.path: file.size for file in Manifest.from_folder(Path(job.made)).files}
    weights = [size for path, size in sizes.items() if path.endswith(".safetensors")]
    assert len(weights) > 1
    assert max(weights) < 60_000, "with the header"


def test_a_weight_that_the_format_of_the_base_cannot_hold_is_a_divergence(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 - seconds of imports
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - ditto

    from tidemill_trainer.learning.saving import save  # noqa: PLC0415 - ditto

    base = write_base(tmp_path / "base")
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float16)
    model.save_pretrained(base)
    model = model.float()
    with torch.no_grad():
        model.model.norm.weight[0] = 70_000.0  # float16 ends at 65,504

    with pytest.raises(TrainingStopped, match=r"model\.norm\.weight .* use a lower learning_rate") as stopped:
        save(full_job(tmp_path / "run", base), model, None)
    assert stopped.value.reason == "DIVERGED"
