"""Trainings that learn from a teacher: they come closer to it, go on after a kill, and count its memory."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.trainer.tests.learning.same_fits import train_as_before
from services.trainer.tests.learning.test_training import RecordedReports, job_in, trained
from services.trainer.tests.learning.tiny import write_base
from tidemill_trainer.learning.examples import Demonstrated, Row
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.learning.job import Job, ModelFiles
from tidemill_trainer.training.domain.trial import HeldOut

HELD_OUT = HeldOut(share=0.25, seed=3, measurements=6)
QUESTION = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "What is 99?"}]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decided_base(tmp_path_factory.mktemp("base"), hidden=32)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decided_base(tmp_path_factory.mktemp("teacher"), hidden=64)


def decided_base(folder: Path, *, hidden: int) -> Path:
    """Return a base whose next token is no mere chance, so that an adapter can change it."""
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 - seconds of imports

    weights = write_base(folder, hidden=hidden) / "model.safetensors"
    tensors = load_file(weights)
    save_file(tensors | {"lm_head.weight": 10 * tensors["lm_head.weight"]}, weights, metadata={"format": "pt"})
    return folder


def distill_job(folder: Path, base: Path, teacher: Path, **args: Any) -> Job:  # noqa: ANN401 - of TRL, and lora
    return job_in(folder, base, method="distill", teacher=teacher, **{"learning_rate": 0.02} | args)


def test_the_held_out_divergence_from_the_teacher_falls(tmp_path: Path, base: Path, teacher: Path) -> None:
    job = distill_job(tmp_path / "run", base, teacher, max_steps=6, lr_scheduler_type="constant")
    reports = RecordedReports()

    train_as_before(replace(job, held_out=HELD_OUT), reports)

    found = [line["loss"] for line in reports.lines if line["event"] == "measured"]
    assert len(found) == 6
    assert found[-1] < 0.9 * found[0]


def test_the_student_finds_the_teachers_answers_more_likely_than_its_base_does(
    tmp_path: Path, base: Path, teacher: Path
) -> None:
    job = distill_job(tmp_path / "run", base, teacher, beta=0.0, max_steps=12, lr_scheduler_type="constant")
    answers = _drawn_by(teacher, count=32)
    before = _loss_of(base, None, answers)

    trained(job, RecordedReports())

    assert _loss_of(base, Path(job.made), answers) < before


def _drawn_by(teacher: Path, *, count: int) -> Any:  # noqa: ANN401 - of torch
    """Return answers of the teacher to a question that no example has."""
    import torch  # noqa: PLC0415 - seconds of imports
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(teacher)
    asked: Any = tokenizer.apply_chat_template(
        QUESTION, add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    torch.manual_seed(3)
    model: Any = AutoModelForCausalLM.from_pretrained(teacher)
    given = {"do_sample": True, "max_new_tokens": 8, "num_return_sequences": count, "eos_token_id": None}
    return asked.shape[1], model.generate(asked, attention_mask=torch.ones_like(asked), **given)


def _loss_of(base: Path, adapter: Path | None, answers: Any) -> float:  # noqa: ANN401 - ditto
    import torch  # noqa: PLC0415 - seconds of imports
    from peft import PeftModel  # noqa: PLC0415
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    prompt, tokens = answers
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    model = PeftModel.from_pretrained(model, str(adapter)) if adapter else model
    labels = tokens.clone()
    labels[:, :prompt] = -100
    with torch.no_grad():
        return float(model(input_ids=tokens, labels=labels).loss)


@pytest.mark.long
def test_a_killed_distillation_goes_on_to_the_same_adapter(tmp_path: Path, base: Path, teacher: Path) -> None:
    args: dict[str, Any] = {"lmbda": 0.6, "max_new_tokens": 8, "gradient_accumulation_steps": 2}
    whole, second = RecordedReports(), RecordedReports()
    expected = trained(distill_job(tmp_path / "whole", base, teacher, **args), whole)
    with pytest.raises(KeyboardInterrupt):
        trained(distill_job(tmp_path / "killed", base, teacher, **args), RecordedReports(ends_after=3))

    assert trained(distill_job(tmp_path / "killed", base, teacher, **args), second) == expected

    assert second.lines[1]["step"] == 2
    assert second.losses == whole.losses[2:]


def test_a_loss_of_answers_alone_is_that_of_trl_over_all_tokens(tmp_path: Path, base: Path, teacher: Path) -> None:
    import torch  # noqa: PLC0415 - ditto
    from trl.experimental.gkd.gkd_trainer import GKDTrainer  # noqa: PLC0415 - seconds of imports

    from tidemill_trainer.learning import training  # noqa: PLC0415 - ditto
    from tidemill_trainer.learning.examples import read_examples, rows_of  # noqa: PLC0415 - ditto
    from tidemill_trainer.learning.guiding import guided_by  # noqa: PLC0415 - ditto
    from tidemill_trainer.learning.reports import Unreported  # noqa: PLC0415 - ditto

    job = distill_job(tmp_path / "run", base, teacher, beta=0.3)
    own = training._base(job)  # noqa: SLF001 - what a training is built of
    rows, _ = rows_of(read_examples(Path(job.examples)), own.tokenizer, max_length=512)
    on: dict[str, Any] = {"device": "cpu", "dtype": torch.float32}
    guided = guided_by(job, own.tokenizer, Unreported(), **on)
    trainer: Any = training._trainer(job, rows, own, guided=guided, **on)  # noqa: SLF001 - ditto
    batch = trainer.data_collator([dict(row.columns) for row in rows[:3]])
    with torch.no_grad():
        expected = GKDTrainer.compute_loss(trainer, trainer.model, batch)
        found = trainer.compute_loss(trainer.model, batch)
        moved = {name: torch.nn.functional.pad(batch[name], (3, 0)) for name in ("input_ids", "attention_mask")}
        labels = torch.nn.functional.pad(batch["labels"], (3, 0), value=-100)
        padded = trainer.compute_loss(trainer.model, {**moved, "labels": labels})

    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert padded.item() == pytest.approx(expected.item(), rel=1e-4)


def test_an_adapter_teaches_with_its_base(tmp_path: Path, base: Path) -> None:
    made = job_in(tmp_path / "made", base, max_steps=2)
    trained(made, RecordedReports())
    files = ModelFiles(base=str(base), adapter=made.made)
    nothing, something = RecordedReports(), RecordedReports()

    trained(distill_job(tmp_path / "alone", base, base, max_steps=1), nothing)
    trained(replace(distill_job(tmp_path / "run", base, base, max_steps=1), teacher=files), something)

    (same,), (other,) = nothing.losses, something.losses
    assert same == pytest.approx(0.0, abs=1e-6)
    assert isinstance(other, float)
    assert other > 1e-4


def test_the_memory_of_the_teacher_is_counted(
    tmp_path: Path, base: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidemill_trainer.learning import fitting  # noqa: PLC0415 - seconds of imports

    monkeypatch.setattr(fitting, "taken_bytes", lambda *_: 0)  # of this process, which grows from test to test
    larger = write_base(tmp_path / "larger", hidden=256)
    jobs = [
        job_in(tmp_path / "sft", base),
        distill_job(tmp_path / "small", base, teacher),
        distill_job(tmp_path / "large", base, larger),
        distill_job(tmp_path / "drawn", base, teacher, lmbda=0.5, max_new_tokens=200),
    ]

    sft, small, large, drawn = [_needed(replace(job, numeric_format="float32")) for job in jobs]

    assert sft < small < min(large, drawn)


def _needed(job: Job) -> int:
    with pytest.raises(TrainingStopped) as stopped:
        trained(replace(job, memory_bytes=1), RecordedReports())
    return int(stopped.value.message.split(" needs ")[1].split()[0])


def test_a_teacher_with_another_vocabulary_is_refused_before_anything_is_loaded(
    tmp_path: Path, base: Path, teacher: Path
) -> None:
    import json  # noqa: PLC0415 - for this test alone
    import shutil  # noqa: PLC0415 - ditto

    other = shutil.copytree(teacher, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 - seconds of imports

    tensors = load_file(other / "model.safetensors")
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        tensors[name] = tensors[name][:-1].clone()
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    (other / "config.json").write_text(json.dumps(config | {"vocab_size": config["vocab_size"] - 1}))

    with pytest.raises(
        TrainingStopped, match=r"the teacher teacher@1 has a vocabulary of .* and the base one of"
    ) as stopped:
        trained(distill_job(tmp_path / "run", base, other), RecordedReports())

    assert stopped.value.reason == "TEACHER_REFUSED"


def test_a_generated_answer_has_its_places_where_it_may_be_longer() -> None:
    short, long = Demonstrated(Row((5, 6, 7), 2), 4), Demonstrated(Row((5, 6, 7, 8), 2), 1)

    assert (short.tokens, long.tokens) == ([5, 6, 0, 0, 0, 0], (5, 6, 7, 8))
    assert short.columns == {"input_ids": (5, 6, 7), "completion_mask": [0, 0, 1]}
