"""Estimates a training's memory before weights are loaded, by simulating one step on fake tensors.

The base is built from its config with the adapter, and one forward and backward step runs on torch's fake tensors:
every operation has its real format and loss path, but allocates and computes nothing. The peak of live storages is the
estimate.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from inspect import signature
from random import Random
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import cross_entropy, logsigmoid
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PretrainedConfig

from tidemill_trainer.learning.examples import AnyRow, Demonstrated, Packed, Pair, Prompted, Row
from tidemill_trainer.learning.vocabulary import AddedToken, with_rows
from tidemill_trainer.training.domain.fit import Choice

MOMENT_BYTES = 4
"""Of a float32, as gradients, moments and what is trained are."""
MOMENTS = {"adamw_torch_fused": 2, "adamw_torch": 2, "adafactor": 1, "sgd": 0}
"""float32 values of optimizer state per trained parameter; adafactor has fewer."""
MAX_BATCHES = 500
"""Batches sampled to find the largest one that a training is likely to have."""
COPIES_OF_LOGITS = 4
"""Of one token's, in float32, while it is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Computing:
    """Formats of products and of weights, device and optimizer of a training.

    `stored` are the bytes of base files stored in that format, by name: on a CPU these files are memory-mapped and are
    not memory of the process.
    """

    dtype: torch.dtype
    weights: torch.dtype
    device: str
    optimizer: str
    stored: Mapping[str, int]
    scores: bool = False
    """Whether a head makes one number of a sequence, in place of the vocabulary's for each token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """The model that a training learns from, in the format of the training.

    `stored` is as that of `Computing`; `beta` is that of the divergence which is lowered.
    """

    config: PretrainedConfig
    stored: Mapping[str, int]
    beta: float


class StepMemory:
    """Estimates the memory of a choice on these rows; about three CPU seconds each."""

    def __init__(  # noqa: PLR0913 - all of it is of one training
        self,
        config: PretrainedConfig,
        lora: LoraConfig | None,
        rows: Sequence[AnyRow | Packed],
        computing: Computing,
        *,
        teacher: Teacher | None = None,
        added: Sequence[AddedToken] = (),
    ) -> None:
        """Build base, adapter and teacher without data; raises the errors of transformers and PEFT.

        Without `lora` all weights are trained.
        """
        with torch.device("meta"):
            auto: Any = AutoModelForSequenceClassification if computing.scores else AutoModelForCausalLM
            base = auto.from_config(config, dtype=computing.weights, attn_implementation="sdpa")
            self._teacher = _teacher_model(teacher, computing.dtype) if teacher else None
            self._beta = teacher.beta if teacher else 0.0
            if computing.scores:
                base.score.float()
            self._able = "logits_to_keep" in signature(type(base).forward).parameters
            self._vocabulary = 1 if computing.scores else int(base.get_input_embeddings().weight.shape[0])
            self._text: Any = config.get_text_config()
            self._wide = int(self._text.hidden_size) * int(self._text.num_hidden_layers)
            names = {name for name, _ in base.named_parameters()}
            self.numbers: int = sum(each.numel() for each in base.parameters())
            """Of the base's weights, tied ones once."""
            beside = _vocabulary_numbers(base) if added and lora else 0
            self._model: Any = base
            if lora:
                self._model = get_peft_model(base, with_rows(lora, base, added), low_cpu_mem_usage=True)
        self._model.enable_input_require_grads()
        self._rows, self._dtype, self._device = rows, computing.dtype, computing.device
        self._scores = computing.scores
        self._sequences = sequences_of(rows)
        self._packs = isinstance(rows[0], Packed)
        self._able &= isinstance(
            rows[0], Row | Prompted | Demonstrated | Packed
        )  # of other rows, TRL computes logits for all positions
        trained: int = sum(each.numel() for each in self._model.parameters() if each.requires_grad)
        self._optimizer_bytes = trained * MOMENTS[computing.optimizer] * MOMENT_BYTES
        self._weights_bytes = computing.weights.itemsize
        self.checkpoint_bytes = trained * MOMENT_BYTES + self._optimizer_bytes + beside * self._weights_bytes
        """Of one checkpoint on disk; PEFT adds the whole vocabulary to one that has added tokens."""
        self.exchanged_bytes = trained * MOMENT_BYTES
        """Of one of several processes: gradients on their way to the others."""
        self._kept_gradients = 0 if lora else trained * MOMENT_BYTES
        mapped = sum(size for name, size in computing.stored.items() if name in names)
        if teacher and self._teacher:
            self._able &= "logits_to_keep" in signature(type(self._teacher).forward).parameters
            taught = {name for name, _ in self._teacher.named_parameters()}
            mapped += sum(size for name, size in teacher.stored.items() if name in taught)
        self.mapped_bytes = mapped if computing.device == "cpu" else 0

    def needed_bytes(self, choice: Choice, *, batches: int) -> int:
        """Return the bytes of weights, gradients, optimizer and the largest sampled batch, without mapped files."""
        length, learnt = self._largest(choice, batches)
        if choice.checkpointing:
            self._model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        else:
            self._model.activation_checkpointing_disable()
        self._model.train()
        peak = self._peak(1 if self._packs else self._sequences * choice.batch_size, length, learnt)
        if isinstance(self._rows[0], Prompted):
            peak = max(peak, self._generating(choice.batch_size * choice.accumulation_steps))
        if isinstance(self._rows[0], Demonstrated):
            peak = max(peak, self._generating(choice.batch_size) + self._teacher_bytes)
        if choice.accumulation_steps > 1:  # those of the batch before are there while the next one is computed
            peak += self._kept_gradients
        return self._optimizer_bytes + peak - self.mapped_bytes

    def saving_bytes(self, made: torch.dtype) -> int:
        """Return the bytes of weights, optimizer and what is stored, while full weights are written in this format."""
        copied = made.itemsize if made.itemsize != self._weights_bytes else 0
        return self.numbers * (self._weights_bytes + copied) + self._optimizer_bytes

    @property
    def _teacher_bytes(self) -> int:
        return sum(each.numel() * each.element_size() for each in self._teacher.parameters()) if self._teacher else 0

    def _generating(self, answers: int) -> int:
        """Return the bytes of weights, keys and values while so many answers are generated at the same time."""
        weights = sum(each.numel() * each.element_size() for each in self._model.parameters())
        length = max(len(row.tokens) for row in self._rows)
        heads = getattr(self._text, "num_key_value_heads", None) or self._text.num_attention_heads
        width = getattr(self._text, "head_dim", None) or self._text.hidden_size // self._text.num_attention_heads
        cache = 2 * int(self._text.num_hidden_layers) * heads * width * length * self._dtype.itemsize
        wide = getattr(self._text, "intermediate_size", None) or 4 * self._text.hidden_size
        prefill = 4 * length * wide * self._dtype.itemsize
        return int(weights + answers * (cache + prefill + COPIES_OF_LOGITS * self._vocabulary * 4))

    def _largest(self, choice: Choice, batches: int) -> tuple[int, int]:
        """Return length and loss positions of the largest batch in a random sample of this many.

        Those that are packed are one sequence.
        """
        draw = Random(0)  # noqa: S311 - no secret: an estimate
        size = min(choice.batch_size, len(self._rows))
        kept = 1 if choice.checkpointing else 20
        maximum, largest = -1, (0, 0)
        for _ in range(min(batches, MAX_BATCHES)):
            batch = draw.sample(self._rows, size)
            length = (sum if self._packs else max)(len(row.tokens) for row in batch)
            learnt = len({place for row in batch for place in range(row.prompt, len(row.tokens))})
            if self._packs:
                learnt = sum(len(row.tokens) - row.prompt for row in batch)
            learnt = learnt if self._able else length
            if (cost := length * self._wide * kept + 3 * learnt * self._vocabulary) > maximum:
                maximum, largest = cost, (length, learnt)
        return largest

    def _peak(self, batch: int, length: int, learnt: int) -> int:
        counted = _Alive()
        with FakeTensorMode(allow_non_fake_inputs=True), counted:
            inputs = self._inputs(batch, length, learnt)
            loss = (
                partial(_distance, beta=self._beta) if self._teacher else _pairs_loss if self._scores else _words_loss
            )
            step = _Step(self._model, self._teacher, inputs, self._autocast, loss)
            given = {
                name: torch.empty(each.shape, dtype=each.dtype, device=self._device, requires_grad=each.requires_grad)
                for name, each in (*step.named_parameters(), *step.named_buffers())
            }
            torch.func.functional_call(step, given, ())
        return counted.maximum

    def _inputs(self, batch: int, length: int, learnt: int) -> Mapping[str, torch.Tensor]:
        tokens = torch.zeros((batch, length), dtype=torch.long, device=self._device)
        inputs = {"input_ids": tokens, "position_ids" if self._packs else "attention_mask": torch.ones_like(tokens)}
        if self._able:
            inputs["logits_to_keep"] = torch.arange(learnt, device=self._device)
        return inputs

    def _autocast(self) -> AbstractContextManager[object]:
        if self._dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self._device, dtype=self._dtype)


def _vocabulary_numbers(model: Any) -> int:  # noqa: ANN401 - of transformers
    first, last = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    return int(first.numel()) + (int(last.numel()) if last is not first else 0)


def sequences_of(rows: Sequence[AnyRow | Packed]) -> int:
    """Return how many sequences a step computes for each row."""
    return 2 if isinstance(rows[0], Pair) else 1


class _Step(torch.nn.Module):
    """One forward and backward step with replaced weights."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - of peft
        teacher: Any,  # noqa: ANN401 - of transformers
        inputs: Mapping[str, torch.Tensor],
        autocast: Callable[[], AbstractContextManager[object]],
        loss: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor],
    ) -> None:
        super().__init__()
        self.model, self.teacher = model, teacher
        self._inputs, self._autocast, self._loss = inputs, autocast, loss

    def forward(self) -> None:
        with self._autocast():
            logits = self.model(**self._inputs, use_cache=False).logits
            taught = None
            if self.teacher is not None:
                with torch.no_grad():
                    taught = self.teacher(**self._inputs, use_cache=False).logits
            loss: Any = self._loss(logits, taught)
        del logits, taught
        loss.backward()


def _pairs_loss(scores: torch.Tensor, _taught: object) -> torch.Tensor:
    chosen, rejected = scores.squeeze(-1).float().chunk(2)
    return -logsigmoid(chosen - rejected).mean()


def _words_loss(logits: torch.Tensor, _taught: object) -> torch.Tensor:
    labels = torch.zeros(logits.shape[:2].numel(), dtype=torch.long, device=logits.device)
    return cross_entropy(logits.flatten(0, 1).float(), labels)


def _distance(logits: torch.Tensor, taught: torch.Tensor | None, *, beta: float) -> torch.Tensor:
    from tidemill_trainer.learning.distilling_trainer import divergence  # noqa: PLC0415 - with what only it needs

    assert taught is not None  # noqa: S101 - there is a teacher
    learnt = torch.arange(logits.shape[:2].numel(), device=logits.device)  # as many as are learnt at most
    return divergence(logits.flatten(0, 1)[learnt], taught.flatten(0, 1)[learnt], beta=beta)


def _teacher_model(teacher: Teacher, dtype: torch.dtype) -> Any:  # noqa: ANN401 - of transformers
    """Return a teacher without data, within `torch.device("meta")`."""
    model: Any = AutoModelForCausalLM.from_config(teacher.config, dtype=dtype, attn_implementation="sdpa")
    return model.requires_grad_(requires_grad=False).eval()


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch has no type for its making
    """Tracks the bytes of every storage over its lifetime."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # ditto
        self._bytes = self.maximum = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: Any = (),  # noqa: ANN401 - of torch
        kwargs: Any = None,  # noqa: ANN401 - of torch
    ) -> object:
        del types
        made = func(*args, **(kwargs or {}))
        for each in tree_leaves(made):
            if isinstance(each, torch.Tensor):
                self._count(each.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()  # noqa: SLF001 - the identity of a storage
        if key in self._known:
            return
        self._known.add(key)
        self._bytes += size
        self.maximum = max(self.maximum, self._bytes)
        weakref.finalize(storage, self._end, key, size)

    def _end(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._bytes -= size
