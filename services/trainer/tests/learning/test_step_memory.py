"""Estimated memory of a training against the measured peak of this process."""

import ctypes
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import pytest

from services.trainer.tests.learning.test_training import RecordedReports, job_in, trained
from services.trainer.tests.learning.tiny import example_lines, write_base
from tidemill_kit.models.numeric_format import NumericFormat
from tidemill_trainer.child_processes import MMAP_FROM_BYTES
from tidemill_trainer.learning.examples import read_examples, rows_of
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.learning.job import Job
from tidemill_trainer.learning.process_memory import taken_bytes
from tidemill_trainer.training.domain.fit import Choice, Fit

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Options of glibc's mallopt, as in the environment of a training process."""
_trained_in = set[NumericFormat]()
"""The formats in which the process that measures has trained: what it takes but once for each is not compared."""
TWO_BY_TWO = Choice(batch_size=2, accumulation_steps=2, checkpointing=False)
RECIPE: dict[str, Any] = {"per_device_train_batch_size": 8, "max_length": 400, "max_steps": 2}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"), hidden=192, layers=3)


def big_job(folder: Path, base: Path, **changes: Any) -> Job:  # noqa: ANN401 - of a job
    job = job_in(folder, base, **RECIPE)
    Path(job.examples).write_bytes(example_lines(16, words=36))
    return replace(job, **changes)


class Watched(RecordedReports):
    """Records memory at the estimate, and the peak afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.before = self.maximum = 0

    @property
    def fit(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.lines[0]["fit"])

    def report(self, event: str, **facts: object) -> None:
        if event == "fitted":
            self.before = taken_bytes()
        super().report(event, **facts)

    @contextmanager
    def watching(self) -> Iterator[None]:
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.005):
                self.maximum = max(self.maximum, taken_bytes())

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def fit_in(job: Job) -> Fit:
    from transformers import AutoConfig, AutoTokenizer  # noqa: PLC0415 - seconds of imports

    from tidemill_trainer.learning.fitting import fit_of  # noqa: PLC0415 - ditto

    rows, _ = rows_of(read_examples(Path(job.examples)), AutoTokenizer.from_pretrained(job.base), max_length=400)
    return fit_of(job, AutoConfig.from_pretrained(job.base), rows, dtype=_float32(), device="cpu")


def _float32() -> Any:  # noqa: ANN401 - of torch
    import torch  # noqa: PLC0415

    return torch.float32


def measured(
    folder: Path,
    base: Path,
    numeric_format: NumericFormat,
    *,
    lora: dict[str, Any] | None = None,
    **args: Any,  # noqa: ANN401 - of a recipe
) -> tuple[float, float]:
    """Return what a training was estimated to take and what it took, in bytes; called in a process of its own."""
    from tidemill_trainer.learning.fitting import WORKING_BYTES  # noqa: PLC0415 - seconds of imports
    from tidemill_trainer.learning.training import train  # noqa: PLC0415 - ditto

    libc = ctypes.CDLL(None)
    for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
        libc.mallopt(option, int(MMAP_FROM_BYTES))
    if numeric_format not in _trained_in:
        trained(replace(job_in(folder / "first", base, max_steps=1), numeric_format=numeric_format), RecordedReports())
        _trained_in.add(numeric_format)
    job, reported = big_job(folder / "run", base, numeric_format=numeric_format), Watched()
    changed = {"per_device_train_batch_size": 16, "max_steps": 1} | args
    job = replace(job, args={**job.args, **changed}, lora={**job.lora, **(lora or {})})

    with reported.watching():
        train(job, cast("Any", reported))  # with an estimate of its own: what this process takes is subtracted

    return reported.fit["needed_bytes"] - WORKING_BYTES - reported.before, reported.maximum - reported.before


@pytest.fixture(scope="module")
def fresh_process() -> Iterator[ProcessPoolExecutor]:
    """Give a process whose memory no other test has taken and freed, as a training has one."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as executor:
        yield executor


@pytest.mark.long
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("numeric_format", ["bfloat16", "float32"])
def test_a_training_takes_what_it_was_estimated_to_take(
    tmp_path: Path,
    base: Path,
    fresh_process: ProcessPoolExecutor,
    numeric_format: NumericFormat,
    *,
    checkpointing: bool,
) -> None:
    work = fresh_process.submit(measured, tmp_path, base, numeric_format, gradient_checkpointing=checkpointing)
    estimated, taken = work.result()
    assert taken == pytest.approx(estimated, rel=0.25)


@pytest.mark.long
@pytest.mark.parametrize(
    "recipe",
    [{"lora": {"use_dora": True}}, {"packing": True, "max_length": 900, "per_device_train_batch_size": 4}],
    ids=["dora", "packing"],
)
def test_a_training_with_magnitudes_or_packed_examples_takes_what_it_was_estimated_to_take(
    tmp_path: Path, base: Path, fresh_process: ProcessPoolExecutor, recipe: dict[str, Any]
) -> None:
    estimated, taken = fresh_process.submit(measured, tmp_path, base, "float32", **recipe).result()
    assert taken == pytest.approx(estimated, rel=0.25)


def test_weights_that_are_stored_as_they_are_computed_in_are_no_memory_of_the_process(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidemill_trainer.learning import fitting  # noqa: PLC0415 - seconds of imports

    weights, job = (base / "model.safetensors").stat().st_size, big_job(tmp_path / "run", base, memory_bytes=10**10)
    mapped, picked = fit_in(job), fit_in(replace(job, memory_auto=True))
    monkeypatch.setattr(fitting, "stored_in", lambda *_: {})
    copied = fit_in(job)

    assert weights / 2 < copied.needed_bytes - mapped.needed_bytes < 2 * weights
    assert mapped.limit_bytes - picked.limit_bytes == pytest.approx(weights, rel=0.1)


def test_a_training_that_needs_more_than_its_limit_is_refused_with_both_figures(tmp_path: Path, base: Path) -> None:
    with pytest.raises(TrainingStopped) as stopped:
        fit_in(big_job(tmp_path / "run", base, memory_bytes=10_000_000))

    assert stopped.value.reason == "OUT_OF_MEMORY"
    message = r"the training needs \d{8,} bytes of memory \(batch size 8, .*\); its limit is 10000000: .*"
    assert re.fullmatch(message, stopped.value.message)


def test_a_batch_that_does_not_fit_is_halved(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tidemill_trainer.learning import fitting  # noqa: PLC0415

    monkeypatch.setattr(fitting, "TOKENS_PER_BATCH", 10_000)
    whole = fit_in(big_job(tmp_path / "whole", base))
    limit = int(whole.needed_bytes * fitting.SPARE * 0.99)

    fit = fit_in(big_job(tmp_path / "run", base, memory_auto=True, memory_bytes=limit))

    assert fit.choice == Choice(batch_size=4, accumulation_steps=2, checkpointing=False)
    assert fit.needed_bytes < whole.needed_bytes


def test_a_processor_takes_no_more_rows_at_once_than_keep_it_busy(tmp_path: Path, base: Path) -> None:
    fit = fit_in(big_job(tmp_path / "run", base, memory_auto=True))

    assert fit.choice == Choice(batch_size=1, accumulation_steps=8, checkpointing=False)


def test_after_one_that_took_too_much_a_smaller_choice_is_picked(tmp_path: Path, base: Path) -> None:
    failed = Choice(batch_size=1, accumulation_steps=8, checkpointing=False)

    fit = fit_in(big_job(tmp_path / "run", base, memory_auto=True, smaller_than=failed))

    assert fit.choice == Choice(batch_size=1, accumulation_steps=8, checkpointing=True)


def test_however_many_rows_are_taken_at_once_the_same_is_learnt(tmp_path: Path) -> None:
    base, whole, one_by_one = write_base(tmp_path / "base"), RecordedReports(), RecordedReports()
    args: dict[str, Any] = {"per_device_train_batch_size": 4, "max_steps": 3}

    trained(job_in(tmp_path / "whole", base, **args), whole)
    trained(replace(job_in(tmp_path / "one", base, **args), memory_auto=True, smaller_than=TWO_BY_TWO), one_by_one)

    assert one_by_one.lines[0]["fit"]["choice"]["batch_size"] == 1
    assert one_by_one.losses == pytest.approx(whole.losses, rel=1e-2)


def test_a_training_goes_on_with_a_smaller_choice_from_its_checkpoint_to_the_same_losses(tmp_path: Path) -> None:
    base, whole, first, rest = (
        write_base(tmp_path / "base"),
        RecordedReports(),
        RecordedReports(ends_after=3),
        RecordedReports(),
    )
    args: dict[str, Any] = {"per_device_train_batch_size": 4, "max_steps": 5}
    trained(job_in(tmp_path / "whole", base, **args), whole)
    with pytest.raises(KeyboardInterrupt):
        trained(job_in(tmp_path / "run", base, **args), first)

    trained(replace(job_in(tmp_path / "run", base, **args), memory_auto=True, smaller_than=TWO_BY_TWO), rest)

    begun = next(line for line in rest.lines if line["event"] == "begun")
    choice = rest.lines[0]["fit"]["choice"]
    assert (begun["step"], choice["batch_size"] * choice["accumulation_steps"], choice["batch_size"]) == (2, 4, 1)
    assert rest.losses == pytest.approx(whole.losses[2:], rel=1e-2)
