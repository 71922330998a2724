"""Real trainings of a tiny model in this process: results depend on the seed, not on interruptions."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.trainer.tests.learning.same_fits import train_as_before
from services.trainer.tests.learning.tiny import example_lines, write_base
from tidemill_core.models.manifest import Manifest
from tidemill_kit.models.numeric_format import NumericFormat
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.learning.job import Job, ModelFiles
from tidemill_trainer.training.domain.recipe import recipe_of
from tidemill_trainer.training.domain.rewards import Reward

OTHERS = ("dpo", "orpo", "reward")
"""Methods that go on after a kill as another one does."""


class RecordedReports:
    """Records reports, and crashes the training after a step."""

    def __init__(self, *, ends_after: int = 0) -> None:
        self.lines: list[dict[str, Any]] = []
        self._ends_after = ends_after

    def report(self, event: str, **facts: object) -> None:
        self.lines.append({"event": event, **facts})
        if event == "step" and facts["step"] == self._ends_after:
            raise KeyboardInterrupt

    def of(self, number: str) -> list[float]:
        """Return what each step logged of a number."""
        return [line["numbers"][number] for line in self.lines if line["event"] == "step"]

    @property
    def losses(self) -> list[object]:
        return [line["loss"] for line in self.lines if line["event"] == "step"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


def job_in(  # noqa: PLR0913 - keyword-only, and each of another kind
    folder: Path,
    base: Path,
    *,
    method: str = "sft",
    use_peft: bool = True,
    added_tokens: Sequence[str] = (),
    lora: Mapping[str, object] | None = None,
    rewards: Sequence[Reward] = (),
    teacher: Path | None = None,
    **args: object,
) -> Job:
    folder.mkdir(exist_ok=True)
    (folder / "train.jsonl").write_bytes(example_lines(rejecting=method not in {"sft", "grpo", "distill"}))
    recipe = recipe_of(
        method=method,
        lora=lora or {},
        use_peft=use_peft,
        args={"max_steps": 5, "per_device_train_batch_size": 2, "learning_rate": 0.05, "seed": 7} | args,
        rewards=rewards,
        teacher="teacher@1" if teacher else "",
    )
    return Job(
        folder=str(folder),
        examples=str(folder / "train.jsonl"),
        made=str(folder / "made"),
        base=str(base),
        base_name="tiny@1",
        method=method,
        use_peft=use_peft,
        added_tokens=added_tokens,
        lora=dict(recipe.lora),
        args=dict(recipe.args),
        rewards=recipe.rewards,
        teacher=ModelFiles(base=str(teacher)) if teacher else None,
        teacher_name=recipe.teacher,
        min_examples=2,
        checkpoint_steps=2,
        device="cpu",
        threads=1,
    )


def trained(job: Job, reported: RecordedReports) -> str:
    train_as_before(job, reported)
    return Manifest.from_folder(Path(job.made)).digest


def test_a_killed_training_goes_on_from_its_checkpoint_to_the_same_adapter(tmp_path: Path, base: Path) -> None:
    whole, first, second = RecordedReports(), RecordedReports(ends_after=3), RecordedReports()
    expected = trained(job_in(tmp_path / "whole", base), whole)
    with pytest.raises(KeyboardInterrupt):
        trained(job_in(tmp_path / "killed", base), first)

    found = trained(job_in(tmp_path / "killed", base), second)

    assert found == expected
    begun = second.lines[1]
    assert (begun["step"], begun["steps"]) == (2, 5)
    assert begun["losses"] == list(enumerate(whole.losses[:2], start=1))
    rates = {curve["name"]: curve for curve in begun["curves"]}["learning_rate"]
    assert (rates["steps"], rates["values"]) == ((1, 2), tuple(whole.of("learning_rate")[:2]))
    assert {"code", "cpu_capability", "device", "dtype", "processor", "threads", "trl"} <= begun["versions"].keys()
    assert second.losses == whole.losses[2:]
    assert whole.losses[-1] != whole.losses[0]


@pytest.mark.parametrize("lora", [{}, {"use_dora": True}], ids=str)
def test_a_training_killed_after_its_last_step_only_saves(tmp_path: Path, base: Path, lora: dict[str, Any]) -> None:
    job, first, second = (
        job_in(tmp_path / "killed", base, lora=lora, lr_scheduler_type="constant"),
        RecordedReports(),
        RecordedReports(),
    )
    expected = trained(job, first)
    shutil.rmtree(job.made)

    found = trained(job, second)

    assert found == expected
    _fitted, begun = second.lines
    assert (begun["step"], begun["steps"], len(list(begun["losses"]))) == (5, 5, 5)
    assert [path.parent.name for path in Path(job.folder).rglob("README.md")] == ["made"]


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("dpo", {"loss_type": ["sigmoid"]}),
        ("dpo", {"loss_type": ["sigmoid", "sft"]}),
        ("dpo", {"loss_type": ["ipo"]}),
        ("dpo", {"loss_type": ["apo_zero"]}),
        ("orpo", {"beta": 0.5}),
        ("kto", {"beta": 1.0, "learning_rate": 0.01, "max_steps": 7, "per_device_train_batch_size": 8}),
        ("kto", {"loss_type": "apo_zero_unpaired", "per_device_train_batch_size": 1}),
        ("reward", {"center_rewards_coefficient": 0.01}),
    ],
)
def test_of_preferences_the_chosen_answers_gain_on_the_rejected_ones(
    tmp_path: Path, base: Path, method: str, args: dict[str, Any]
) -> None:
    reported = RecordedReports()

    trained(job_in(tmp_path / "run", base, method=method, **args), reported)

    first, *_, last = reported.losses
    assert isinstance(first, float)
    assert isinstance(last, float)
    assert last < first


@pytest.mark.parametrize("method", ["kto", *(pytest.param(each, marks=pytest.mark.long) for each in OTHERS)])
def test_a_killed_training_on_preferences_goes_on_to_the_same_adapter(tmp_path: Path, base: Path, method: str) -> None:
    expected = trained(job_in(tmp_path / "whole", base, method=method), RecordedReports())
    with pytest.raises(KeyboardInterrupt):
        trained(job_in(tmp_path / "killed", base, method=method), RecordedReports(ends_after=3))

    second = RecordedReports()
    assert trained(job_in(tmp_path / "killed", base, method=method), second) == expected
    assert second.lines[1]["step"] == 2


@pytest.mark.parametrize(("method", "of_other"), [("sft", "dpo"), ("dpo", "sft"), ("kto", "sft")])
def test_examples_of_another_kind_than_the_method_learns_from_are_refused(
    tmp_path: Path, base: Path, method: str, of_other: str
) -> None:
    other = job_in(tmp_path / "other", base, method=of_other)
    job = replace(job_in(tmp_path / "run", base, method=method), examples=other.examples)

    with pytest.raises(
        TrainingStopped, match="use sft, distill or grpo for demonstrations, dpo, orpo, kto, reward or grpo"
    ) as stopped:
        trained(job, RecordedReports())
    assert stopped.value.reason == "EXAMPLES_NOT_TRAINABLE"


def test_another_seed_makes_another_adapter(tmp_path: Path, base: Path) -> None:
    one, two = (trained(job_in(tmp_path / str(seed), base, seed=seed), RecordedReports()) for seed in (7, 8))

    assert one != two


def test_only_the_answers_are_learnt(tmp_path: Path, base: Path) -> None:
    import torch  # noqa: PLC0415 - seconds of imports

    from tidemill_trainer.learning import training  # noqa: PLC0415 - ditto

    job = job_in(tmp_path / "run", base)
    base_of = training._base(job)  # noqa: SLF001 - what it trains on cannot be seen from outside
    tokenizer = base_of.tokenizer
    rows, _ = training._rows(job, tokenizer)  # noqa: SLF001
    trainer: Any = training._trainer(job, rows, base_of, device="cpu", dtype=torch.float32, guided={})  # noqa: SLF001

    row = trainer.data_collator([trainer.train_dataset[1]])
    learnt = [token for token, label in zip(row["input_ids"][0], row["labels"][0], strict=True) if label != -100]

    assert tokenizer.decode(learnt) == "It is 1.<|im_end|>\n"


def test_examples_that_are_packed_teach_what_they_teach_one_by_one(tmp_path: Path, base: Path) -> None:
    whole, packed = RecordedReports(), RecordedReports()
    args: dict[str, Any] = {"max_length": 200, "per_device_train_batch_size": 24, "max_steps": 2, "learning_rate": 0.01}

    trained(job_in(tmp_path / "whole", base, **args), whole)
    trained(job_in(tmp_path / "packed", base, **args, packing=True), packed)

    assert packed.losses == pytest.approx(whole.losses, rel=1e-4)
    assert packed.losses[0] != packed.losses[1]


def test_the_steps_of_packed_examples_are_fewer(tmp_path: Path, base: Path) -> None:
    job, reported = job_in(tmp_path / "run", base, max_length=200, packing=True), RecordedReports()
    job = replace(job, args={**job.args, "max_steps": -1, "num_train_epochs": 1, "logging_steps": 1})

    trained(job, reported)

    steps = reported.lines[1]["steps"]
    assert isinstance(steps, int)
    assert len(reported.losses) == steps
    assert 2 < steps <= 6, "24 examples, of which more than two are in 200 tokens, two sequences a step"


@pytest.mark.parametrize("numeric_format", ["bfloat16", "float32"])
def test_a_training_computes_in_the_format_of_its_job(
    tmp_path: Path, base: Path, numeric_format: NumericFormat
) -> None:
    reported = RecordedReports()

    trained(replace(job_in(tmp_path / "run", base, max_steps=1), numeric_format=numeric_format), reported)

    versions: Any = reported.lines[1]["versions"]
    assert versions["dtype"] == numeric_format


def test_a_loss_that_is_no_number_ends_it(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", broken=True)

    with pytest.raises(TrainingStopped) as stopped:
        trained(job_in(tmp_path / "run", base), RecordedReports())

    assert (stopped.value.reason, "the loss is nan after step 1" in stopped.value.message) == ("DIVERGED", True)
    assert not (tmp_path / "run" / "made").exists()


def test_a_training_on_gpus_that_are_not_there_does_not_compute_on_the_processor(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)

    with pytest.raises(TrainingStopped, match="takes 1 GPUs here, one for each process, and finds 0") as stopped:
        trained(replace(job_in(tmp_path / "run", base), device="cuda"), RecordedReports())

    assert stopped.value.reason == "TOO_MANY_PROCESSES"


def test_modules_that_the_base_does_not_have_are_named(tmp_path: Path, base: Path) -> None:
    with pytest.raises(TrainingStopped) as stopped:
        trained(job_in(tmp_path / "run", base, lora={"target_modules": ["nowhere"]}), RecordedReports())

    assert (stopped.value.reason, "nowhere" in stopped.value.message) == ("BAD_RECIPE", True)


def test_examples_that_do_not_fit_are_too_few(tmp_path: Path, base: Path) -> None:
    with pytest.raises(TrainingStopped) as stopped:
        trained(job_in(tmp_path / "run", base, max_length=16), RecordedReports())

    assert stopped.value.reason == "DATASET_TOO_SMALL"
