"""Fits a training into its memory limit, or fails with estimate and limit."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from peft import LoraConfig
from transformers import PretrainedConfig

from tidemill_core.errors import isolated
from tidemill_kit.models.folders import stored_in, tensors_of
from tidemill_trainer.learning.examples import AnyRow, Packed
from tidemill_trainer.learning.failures import DISK_FULL, TrainingStopped
from tidemill_trainer.learning.job import Job, ModelFiles
from tidemill_trainer.learning.process_memory import taken_bytes
from tidemill_trainer.learning.saving import NOT_TRAINABLE, weights_format
from tidemill_trainer.learning.step_memory import Computing, StepMemory, Teacher, sequences_of
from tidemill_trainer.learning.vocabulary import AddedToken, extended_config
from tidemill_trainer.training.domain.fit import Choice, Fit, choices
from tidemill_trainer.training.domain.processes import undivided
from tidemill_trainer.training.domain.recipe import Recipe, min_batch_size
from tidemill_trainer.training.domain.steps import steps_of
from tidemill_trainer.weight_files import format_of

WORKING_BYTES = 48 * 1024**2
"""Memory besides libraries and tensors: threads, kernel workspaces, files being written."""
TOKENS_PER_BATCH = 512
"""Tokens that saturate a CPU; larger batches add padding only."""
CHECKPOINTS_KEPT = 2
MAX_CHECKPOINTS = CHECKPOINTS_KEPT + 1
"""While one is written."""
SPARE = 1.1
"""Margin of automatic choices: an unlikely batch may be larger than the simulated one."""


def fit_of(  # noqa: PLR0913 - all of it is of one training
    job: Job,
    config: PretrainedConfig,
    rows: Sequence[AnyRow | Packed],
    *,
    dtype: torch.dtype,
    device: str,
    added: Sequence[AddedToken] = (),
) -> Fit:
    """Return the recipe's own choice, or with `memory_auto` the first choice that fits.

    Raises:
        TrainingStopped: OUT_OF_MEMORY, with what is needed and what is the limit; BASE_NOT_TRAINABLE or BAD_RECIPE
            where base and adapter do not go together.

    """
    teacher = _teacher_of(job, config, dtype)
    memory = _step_memory(job, config, rows, dtype=dtype, device=device, teacher=teacher, added=added)
    own = _reward_bytes(job, dtype, device=device) + _adapter_bytes(job.teacher)
    if device == "cpu":
        own, limit = own + taken_bytes() + WORKING_BYTES, job.memory_bytes
    else:
        limit = torch.cuda.mem_get_info()[0]
    if job.memory_auto:
        mapped = memory.mapped_bytes + _mapped_by_rewards(job, dtype, device=device)
        if job.teacher and job.teacher.base == job.base:
            mapped = memory.mapped_bytes // 2  # the same files, mapped once
        limit = max(0, limit - mapped)  # available memory must hold the mapped files too
    recipe = _own_part(job)
    minimum = min_batch_size(job.method, job.args)
    found = choices(recipe, after=job.smaller_than, minimum=minimum) if job.memory_auto else [recipe]
    if job.memory_auto and device == "cpu":
        tokens = sequences_of(rows) * sum(len(row.tokens) for row in rows)
        maximum = max(found[-1].batch_size if found else 1, TOKENS_PER_BATCH * len(rows) // tokens)
        found = [choice for choice in found if choice.batch_size <= maximum]
    spare = SPARE if job.memory_auto else 1.0
    message = f"the smallest possible batch ran out of memory at its limit of {limit} bytes"
    made = format_of(Path(job.base), reason=NOT_TRAINABLE) if job.makes_full_weights and not job.held_out else None
    for choice in found:
        batches = steps_of(job.args, rows=len(rows)) * choice.accumulation_steps * job.processes
        saving = memory.saving_bytes(made) if made else 0
        needed = own + max(memory.needed_bytes(choice, batches=batches), saving)
        if job.processes > 1:
            needed = (needed + memory.exchanged_bytes) * (job.processes if device == "cpu" else 1)
        if needed * spare <= limit:
            written = memory.numbers * made.itemsize if made else 0
            _refuse_small_disk(job, memory.checkpoint_bytes * MAX_CHECKPOINTS + written)
            return Fit(choice=choice, needed_bytes=needed, limit_bytes=limit)
        message = f"the training needs {needed} bytes of memory ({_described(choice, job)}); its limit is {limit}"
    message += f": {_advice(job)}"
    raise TrainingStopped(message, reason="OUT_OF_MEMORY")


def _refuse_small_disk(job: Job, needed: int) -> None:
    """Check that checkpoints and full weights have place on disk, in which those of before are replaced.

    Raises:
        TrainingStopped: DISK_FULL, where there may be place later; DISK_TOO_SMALL, where there never is.

    """
    before = sum(path.stat().st_size for path in job.checkpoints.rglob("*") if path.is_file())
    disk = shutil.disk_usage(job.folder)
    asked = f"the checkpoints and weights of the training need {needed} bytes of disk"
    if needed > disk.total:
        message = f"{asked}, where TRAINER_DATA_DIR has {disk.total} in all: use {_smaller(job)}, or a larger disk"
        raise TrainingStopped(message, reason="DISK_TOO_SMALL")
    if needed > disk.free + before:
        message = f"{asked}, where {disk.free + before} are free in TRAINER_DATA_DIR: free some, or use {_smaller(job)}"
        raise TrainingStopped(message, reason=DISK_FULL)


def _step_memory(  # noqa: PLR0913 - all of it is of one training
    job: Job,
    config: PretrainedConfig,
    rows: Sequence[AnyRow | Packed],
    *,
    dtype: torch.dtype,
    device: str,
    teacher: Teacher | None,
    added: Sequence[AddedToken],
) -> StepMemory:
    lora, optimizer = LoraConfig(**job.lora) if job.use_peft else None, job.args["optim"]
    try:
        with isolated():
            stored = stored_in(Path(job.base), str(dtype).removeprefix("torch."))
            if job.makes_full_weights:  # what is trained, or merged in the end, is in memory
                stored = {}
            computing = Computing(
                dtype=dtype,
                weights=weights_format(job, dtype),
                device=device,
                optimizer=optimizer,
                stored=stored,
                scores=job.makes_reward_model,
            )
            return StepMemory(extended_config(config, added), lora, rows, computing, teacher=teacher, added=added)
    except Exception as error:
        if lora and isinstance(error, ValueError) and "target modules" in str(error).lower().replace("_", " "):
            message = f"lora.target_modules: {job.base_name} has no modules {job.lora['target_modules']}"
            raise TrainingStopped(message, reason="BAD_RECIPE") from error
        made_by = f"transformers {transformers.__version__}"
        message = f"{made_by} cannot build a model from the config.json of {job.base_name} ({type(error).__name__})"
        raise TrainingStopped(message, reason="BASE_NOT_TRAINABLE") from error


def _teacher_of(job: Job, config: PretrainedConfig, dtype: torch.dtype) -> Teacher | None:
    if job.teacher is None:
        return None
    from tidemill_trainer.learning.teacher import teacher_config  # noqa: PLC0415 - with what only it needs

    stored = stored_in(Path(job.teacher.base), str(dtype).removeprefix("torch."))
    found = teacher_config(job.teacher, config, name=job.teacher_name)
    return Teacher(config=found, stored=stored, beta=float(job.args["beta"]))


def _adapter_bytes(files: ModelFiles | None) -> int:
    if files is None or not files.adapter:
        return 0
    return sum(path.stat().st_size for path in Path(files.adapter).glob("*.safetensors"))


def _reward_bytes(job: Job, dtype: torch.dtype, *, device: str) -> int:
    """Return what the reward models take in this format, without files that are mapped."""
    total = 0
    for files in job.reward_models.values():
        base = Path(files.base)
        total += sum(map(math.prod, tensors_of(base).values())) * dtype.itemsize
        total += _adapter_bytes(files)
        total -= _mapped_bytes(base, dtype) if device == "cpu" else 0
    return total


def _mapped_by_rewards(job: Job, dtype: torch.dtype, *, device: str) -> int:
    """Return what is mapped of files that are not of the training's own base."""
    bases = {files.base for files in job.reward_models.values()} - {job.base} if device == "cpu" else set[str]()
    return sum(_mapped_bytes(Path(base), dtype) for base in bases)


def _mapped_bytes(base: Path, dtype: torch.dtype) -> int:
    return sum(stored_in(base, str(dtype).removeprefix("torch.")).values())


def _own_part(job: Job) -> Choice:
    """Return what one process computes of a step of the recipe."""
    recipe = Recipe(method=job.method, lora=job.lora, args=job.args, use_peft=job.use_peft)
    part = Choice.of(job.args).among(job.processes)
    if part is None or undivided(job.processes, recipe):
        message = f"the training has {job.processes} processes; {undivided(job.processes, recipe)}"
        raise TrainingStopped(message, reason="BAD_RECIPE")
    return part


def _described(choice: Choice, job: Job) -> str:
    kept = "with" if choice.checkpointing else "without"
    each = f" in each of {job.processes} processes" if job.processes > 1 else ""
    return f"batch size {choice.batch_size}{each}, {kept} gradient_checkpointing"


def _advice(job: Job) -> str:
    smaller = f"a smaller max_length, {_smaller(job)}"
    if job.memory_auto:
        return f"use {smaller}, or a machine with more memory"
    return f"use limits.memory auto, a smaller batch, {smaller}, or gradient_checkpointing"


def _smaller(job: Job) -> str:
    return "a smaller base" if job.use_peft else "a smaller base, or an adapter (use_peft: true)"
