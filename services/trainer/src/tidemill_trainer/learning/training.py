"""Training of a LoRA adapter or of all weights by TRL and PEFT, from demonstrations or preferences."""

import logging
import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset  # type: ignore[import-untyped] # it ships no types
from peft import LoraConfig
from torch.nn.parallel import DistributedDataParallel
from transformers import (
    PretrainedConfig,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME

from tidemill_kit.models.numeric_format import computed_format
from tidemill_trainer.learning.checkpoints import PREFIX, last_complete, mark_complete, processes_of, without_cards
from tidemill_trainer.learning.environment import code_digest, processor_name
from tidemill_trainer.learning.examples import AnyRow, labelled, read_examples, refuse_too_few, rows_of
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.learning.fitting import CHECKPOINTS_KEPT, fit_of
from tidemill_trainer.learning.guiding import guided_by
from tidemill_trainer.learning.held_out import split
from tidemill_trainer.learning.job import Job
from tidemill_trainer.learning.loading import load_config, load_model, load_tokenizer, scoring_config
from tidemill_trainer.learning.measuring import measure, planted
from tidemill_trainer.learning.methods import METHODS
from tidemill_trainer.learning.packing import packed, refuse_mixed
from tidemill_trainer.learning.ranks import Rank, Ranks, together
from tidemill_trainer.learning.reports import Reports, Unreported
from tidemill_trainer.learning.saving import NOT_TRAINABLE, read_weights, refuse_broken_weights, save, weights_format
from tidemill_trainer.learning.vocabulary import AddedToken, add_tokens, extend, with_rows
from tidemill_trainer.training.domain.curves import Curve, extended, numbers_of
from tidemill_trainer.training.domain.fit import ExampleCounts
from tidemill_trainer.training.domain.losses import LossPoint, thinned
from tidemill_trainer.training.domain.recipe import answer_tokens, min_batch_size
from tidemill_trainer.training.domain.steps import prompts_of_step, steps_of
from tidemill_trainer.weight_files import format_of, refuse_unknown

LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "safetensors", "tidemill-trainer")
MAX_LOGGED = 1000
_MEASURED = "eval_loss"
"""How transformers logs the loss on held-out rows."""


@dataclass(frozen=True, slots=True)
class _Base:
    """The base before its weights are loaded."""

    tokenizer: Any
    config: PretrainedConfig
    added: Sequence[AddedToken] = ()
    """What the tokenizer has more than the base's."""


def train(job: Job, reports: Reports) -> None:
    """Train, from the last checkpoint if there is one, and write the adapter or the full weights.

    Raises:
        TrainingStopped: with the reason.

    """
    transformers.utils.logging.set_verbosity_error()  # its warnings quote examples
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("trl").setLevel(logging.ERROR)  # ditto
    rank = Rank.of_process(job)
    job = replace(job, processes=rank.count)
    threads = max(1, (job.threads or torch.get_num_threads()) // rank.local_count)
    torch.set_num_threads(threads)
    device = _device(job.device, rank)
    dtype = _dtype(job, device)
    base = _base(job)
    rows, counts = _rows(job, base.tokenizer)
    held_out: list[AnyRow] = []
    if job.held_out:
        rows, held_out = split(rows, job.held_out, minimum=job.min_examples)
    examples, rows = rows, planted(job, rows, base.tokenizer)
    decided: Mapping[str, Any] = {}
    if rank.leads:
        stepped = packed(rows, max_length=job.args["max_length"]) if job.args.get("packing") else rows
        fit = fit_of(job, base.config, stepped, dtype=dtype, device=device, added=base.added)
        reports.report("fitted", fit=asdict(fit), examples=asdict(counts))
        args = {**_logged(job.args, rows=len(stepped)), **fit.choice.args}
        decided = {"args": args, "checkpoint": _checkpoint(job)}
        if decided["checkpoint"] and _whole(Path(decided["checkpoint"])) and rank.starts_others:
            rank = Rank()  # nothing is left to compute together
    with together(rank, job, reports, device=device, threads=threads) as ranks:
        decided = ranks.shared(decided)
        job = replace(job, args=decided["args"])
        transformers.set_seed(job.args["seed"])  # before the adapter is initialized with random weights
        guided = guided_by(job, base.tokenizer, reports, device=device, dtype=dtype)
        trainer = _trainer(job, rows, base, device=device, dtype=dtype, held_out=held_out, guided=guided)
        if job.args.get("packing"):
            refuse_mixed(trainer, name=job.base_name)
        reporter = _ProgressReporter(
            job, reports if rank.leads else Unreported(), versions=_versions(job, device, dtype), ranks=ranks
        )
        _compute(job, trainer, reporter, decided["checkpoint"])
    if not rank.leads:
        return
    refuse_broken_weights(trainer.model)
    if not job.held_out:
        measure(job, trainer, base.tokenizer, examples, reports)
        save(job, trainer.model, base.tokenizer)


def _checkpoint(job: Job) -> str:
    """Return the folder of the last checkpoint, "" if there is none.

    Raises:
        TrainingStopped: PROCESSES_CHANGED, where it goes on with random numbers of another number of processes.

    """
    checkpoint = last_complete(job.checkpoints)
    if checkpoint is None:
        return ""
    before = processes_of(checkpoint)
    if before != job.processes and not _whole(checkpoint):
        message = (
            f"its checkpoint is of {before} processes and {job.processes} would go on with it: retry it where {before} "
            "are, or start a new run"
        )
        raise TrainingStopped(message, reason="PROCESSES_CHANGED")
    return str(checkpoint)


def _compute(job: Job, trainer: Trainer, reporter: "_ProgressReporter", checkpoint: str) -> None:
    """Train from a checkpoint, or from the start; of one at the last step, take the weights."""
    if checkpoint and (state := _whole(Path(checkpoint))):
        reporter.on_train_begin(trainer.args, state, trainer.control)
        read_weights(job, trainer.model, Path(checkpoint))
        return
    model: Any = trainer.model
    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    frozen += [name for name, _ in model.named_buffers()]
    # Else each rank would get a copy of the base's weights, in place of the mapped file.
    ignore: Any = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model  # noqa: SLF001 - torch has no other way
    ignore(model, frozen)
    trainer.add_callback(reporter)
    with without_cards(trainer):
        trainer.train(resume_from_checkpoint=checkpoint or None)


class _ProgressReporter(TrainerCallback):
    """Reports every step to the worker, has a trial measured, and stops a training whose loss is not finite."""

    def __init__(self, job: Job, reports: Reports | Unreported, *, versions: dict[str, str], ranks: Ranks) -> None:
        self._ranks = ranks
        self._checkpoints = job.checkpoints
        self._held_out = job.held_out
        self._max_kl = job.max_kl
        self._measured_at: frozenset[int] = frozenset()
        self._reports = reports
        self._versions = versions
        self._began_at = 0.0
        self._began_with = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Report the number of steps."""
        del args, control, kwargs
        self._began_at, self._began_with = time.monotonic(), state.global_step
        self._measured_at = self._held_out.measured_at(state.max_steps) if self._held_out else frozenset()
        history = [entry for entry in state.log_history if "loss" in entry]
        logged = thinned([LossPoint(int(entry["step"]), entry["loss"]) for entry in history])
        self._reports.report(
            "begun",
            step=state.global_step,
            steps=state.max_steps,
            versions=self._versions,
            losses=[(point.step, point.loss) for point in logged],
            held_out_losses=[(int(each["step"]), each[_MEASURED]) for each in state.log_history if _MEASURED in each],
            curves=[asdict(curve) for curve in _curves(history)],
        )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Report a step without a logged loss."""
        del kwargs
        control.should_evaluate = state.global_step in self._measured_at
        if state.global_step % args.logging_steps:
            self._report(state, loss=None)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:  # noqa: ANN401 - as transformers calls it
        """Report a logged step or a measurement; the last log entry is a summary without a loss."""
        del args, control
        logs = kwargs.get("logs", {})
        loss = logs.get("loss", logs.get(_MEASURED))
        if loss is None:
            return
        if not math.isfinite(loss):
            message = f"the loss is {loss} after step {state.global_step}: use a lower learning_rate, or warmup_steps"
            raise TrainingStopped(message, reason="DIVERGED")
        if (kl := logs.get("kl") or 0.0) > self._max_kl:
            message = (
                f"the divergence from the base is {kl:.3g} nats per token after step {state.global_step}; the limit is "
                f"{self._max_kl:g}: use a lower learning_rate, or a larger beta"
            )
            raise TrainingStopped(message, reason="DIVERGED")
        if "loss" in logs:
            self._report(state, loss=float(loss), numbers=numbers_of(logs))
        else:
            self._reports.report("measured", at=state.global_step, loss=float(loss))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """Complete the checkpoint, of which every rank has written its part."""
        del args, control, kwargs
        self._ranks.meet()
        if state.is_world_process_zero:
            mark_complete(self._checkpoints / f"{PREFIX}{state.global_step}")
        self._reports.report("saved", at=state.global_step)

    def _report(self, state: TrainerState, *, loss: float | None, numbers: Mapping[str, float] | None = None) -> None:
        done = state.global_step - self._began_with
        each = (time.monotonic() - self._began_at) / done
        remaining = each * (state.max_steps - state.global_step)
        self._reports.report(
            "step",
            step=state.global_step,
            steps=state.max_steps,
            loss=loss,
            remaining_s=remaining,
            numbers=numbers or {},
            device_memory_bytes=torch.cuda.max_memory_allocated(),
        )


def _curves(history: Sequence[Mapping[str, Any]]) -> Sequence[Curve]:
    """Return what was logged beside the loss before this attempt."""
    curves: tuple[Curve, ...] = ()
    for entry in history:
        curves = extended(curves, int(entry["step"]), numbers_of(entry))
    return curves


def _device(choice: str, rank: Rank) -> str:
    """Return the kind of device; on GPUs each rank of a machine takes one of its own.

    Raises:
        TrainingStopped: there are too few GPUs.

    """
    kind = choice if choice != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and rank.local_count > (there := torch.cuda.device_count()):
        message = (
            f"the training takes {rank.local_count} GPUs here, one for each process, and finds {there}: use as many "
            "processes, name GPUs that are there (TRAINER_RUN_DEVICES), or set TRAINER_RUN_DEVICE=cpu"
        )
        raise TrainingStopped(message, reason="TOO_MANY_PROCESSES")
    if kind == "cuda" and rank.count > 1:
        torch.cuda.set_device(rank.local_index)
    return kind


def _dtype(job: Job, device: str) -> torch.dtype:
    native = torch.cuda.is_bf16_supported(including_emulation=False) if device == "cuda" else None
    chosen: torch.dtype = getattr(torch, computed_format(job.numeric_format, native=native))
    return chosen


def _base(job: Job) -> _Base:
    folder = Path(job.base)
    tokenizer, config = load_tokenizer(folder, name=job.base_name), load_config(folder, name=job.base_name)
    if job.makes_reward_model:
        config = scoring_config(config, tokenizer, base=job.base_name)
    if job.makes_full_weights:
        format_of(folder, reason=NOT_TRAINABLE)  # that what is trained can be stored as the base is
    return _Base(tokenizer, config, add_tokens(tokenizer, job.added_tokens, base=job.base_name))


def _rows(job: Job, tokenizer: Any) -> tuple[list[AnyRow], ExampleCounts]:  # noqa: ANN401 - of transformers
    method, max_length = METHODS[job.method], job.args["max_length"]
    examples = read_examples(Path(job.examples), kinds=method.kinds)
    rows, counts = rows_of(
        examples,
        tokenizer,
        max_length=max_length,
        answer_tokens=answer_tokens(job.args),
        keeps_answers=method.keeps_answers,
    )
    minimum = max(job.min_examples, prompts_of_step(job.args))
    refuse_too_few(counts, minimum=minimum, max_length=max_length)
    return labelled(rows, seed=job.args["seed"]) if method.labelled else rows, counts


def _trainer(  # noqa: PLR0913 - all of it is of one training
    job: Job,
    rows: list[AnyRow],
    base: _Base,
    *,
    device: str,
    dtype: torch.dtype,
    held_out: Sequence[AnyRow] = (),
    guided: Mapping[str, Any],
) -> Trainer:
    kept = weights_format(job, dtype)
    model = load_model(Path(job.base), base.config, kept, name=job.base_name, scores=job.makes_reward_model)
    if job.makes_full_weights:
        refuse_unknown(model, Path(job.base), name=job.base_name, reason=NOT_TRAINABLE)
    extend(model, base.added)
    model.name_or_path = model.config._name_or_path = job.base  # noqa: SLF001 - PEFT reads the config there when it saves
    trainer: Trainer = METHODS[job.method].trainer(
        model=model,
        args=_settings(job, device=device, dtype=dtype),
        train_dataset=Dataset.from_list([dict(row.columns) for row in rows]),
        eval_dataset=Dataset.from_list([dict(row.columns) for row in held_out]) if held_out else None,
        processing_class=base.tokenizer,
        peft_config=with_rows(LoraConfig(**job.lora), model, base.added) if job.use_peft else None,
        **guided,
    )
    return trainer


def _logged(args: Mapping[str, Any], *, rows: int) -> dict[str, Any]:
    """Return a recipe's settings with as many logged steps as a run has at most."""
    return {**args, "logging_steps": max(args["logging_steps"], math.ceil(steps_of(args, rows=rows) / MAX_LOGGED))}


def _settings(job: Job, *, device: str, dtype: torch.dtype) -> TrainingArguments:
    settings: TrainingArguments = METHODS[job.method].settings(
        job.args,
        use_peft=job.use_peft,
        output_dir=str(job.checkpoints),
        bf16=dtype is torch.bfloat16,
        dataloader_num_workers=0,
        dataloader_pin_memory=device == "cuda",
        ddp_broadcast_buffers=False,  # they do not change
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        logging_first_step=False,
        per_device_eval_batch_size=min_batch_size(job.method, job.args),  # the same for all trials, and takes least
        logging_nan_inf_filter=False,  # a NaN loss must be visible
        report_to="none",
        save_steps=job.checkpoint_steps,
        save_strategy="steps",
        save_total_limit=CHECKPOINTS_KEPT,
        use_cpu=device == "cpu",
        **({"reward_weights": [each.weight for each in job.rewards]} if job.rewards else {}),
    )
    return settings


def _whole(checkpoint: Path) -> TrainerState | None:
    """Return the state of a checkpoint at the last step; transformers would train one more step."""
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    return state if state.global_step >= state.max_steps else None


def _versions(job: Job, device: str, dtype: torch.dtype) -> dict[str, str]:
    found = {name: version(name) for name in LIBRARIES}
    return found | {
        "python": platform.python_version(),
        "code": code_digest(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "device": device,
        "dtype": str(dtype).removeprefix("torch."),
        "processor": torch.cuda.get_device_name() if device == "cuda" else processor_name(),
        "processes": str(job.processes),
        "threads": str(torch.get_num_threads()),
    }
