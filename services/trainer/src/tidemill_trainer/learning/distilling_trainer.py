"""GKDTrainer on rows that are tokens already, with logits of answers' tokens only.

TRL 1.16 has generalized knowledge distillation among what it calls experimental. It takes messages, and computes the
logits of both models over the whole vocabulary for every position; those of the prompt are discarded, which with
retrieved passages are nearly all of them.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from trl.import_utils import TRLExperimentalWarning

from tidemill_trainer.learning.completion_trainer import IGNORED, MeasuredByLoss, selects_positions

with warnings.catch_warnings():
    warnings.simplefilter("ignore", TRLExperimentalWarning)
    from trl.experimental.gkd.gkd_config import GKDConfig
    from trl.experimental.gkd.gkd_trainer import GKDTrainer

__all__ = ["DistillingTrainer", "GKDConfig", "divergence"]


def divergence(student: torch.Tensor, teacher: torch.Tensor, *, beta: float, count: Any = None) -> torch.Tensor:  # noqa: ANN401 - as TRL has it
    """Return the generalized Jensen-Shannon divergence of rows of logits: their mean, or their sum divided by `count`.

    With `beta` 0 it is the Kullback-Leibler divergence of the student from the teacher, with 1 the reverse one
    (Agarwal et al., 2024, equation 1).
    """
    found: torch.Tensor = GKDTrainer.generalized_jsd_loss(
        student_logits=student.float(), teacher_logits=teacher.float(), beta=beta, num_items_in_batch=count
    )
    return found


@dataclass(frozen=True, slots=True)
class AnswerCollator:
    """Makes batches of tokenized rows: whole ones padded at their end, and prompts padded at their begin."""

    pad: int

    def __call__(self, rows: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, torch.Tensor]:
        """Return a batch as GKDTrainer takes it."""
        tokens = [torch.tensor(row["input_ids"]) for row in rows]
        learnt = [torch.tensor(row["completion_mask"], dtype=torch.bool) for row in rows]
        labels = [each.masked_fill(~mask, IGNORED) for each, mask in zip(tokens, learnt, strict=True)]
        prompts = [each[: int((~mask).sum())] for each, mask in zip(tokens, learnt, strict=True)]
        return {
            "input_ids": pad_sequence(tokens, batch_first=True, padding_value=self.pad),
            "attention_mask": pad_sequence(list(map(torch.ones_like, tokens)), batch_first=True),
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
            "prompts": pad_sequence(prompts, batch_first=True, padding_value=self.pad, padding_side="left"),
            "prompt_attention_mask": pad_sequence(
                list(map(torch.ones_like, prompts)), batch_first=True, padding_side="left"
            ),
        }


class DistillingTrainer(MeasuredByLoss, GKDTrainer):  # type: ignore[misc] # it has no types
    """Generalized knowledge distillation (Agarwal et al., 2024): the share `lmbda` of batches is generated."""

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - of TRL
        """Take what GKDTrainer takes; a tokenizer without a padding token pads with its end of text, as for DPO."""
        tokenizer = given["processing_class"]
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        super().__init__(**given, data_collator=AnswerCollator(tokenizer.pad_token_id))

    def training_step(
        self,
        model: Any,  # noqa: ANN401 - of transformers
        inputs: dict[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Return the loss of a batch; one that may be generated is not counted by the tokens that it is to replace."""
        count: Any = None if self.lmbda else num_items_in_batch
        loss: torch.Tensor = super().training_step(model, inputs, count)
        return loss

    def compute_loss(
        self,
        model: Any,  # noqa: ANN401 - of peft, wrapped by accelerate
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,  # noqa: FBT001, FBT002 - TRL's signature
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:  # noqa: ANN401 - ditto
        """Return how far the student is from the teacher at the answers' tokens."""
        if return_outputs:
            message = "the loss alone is computed"
            raise NotImplementedError(message)
        labels = inputs["labels"][:, 1:]
        kept = (labels != IGNORED).any(dim=0).nonzero().flatten()
        learnt = labels[:, kept] != IGNORED
        given = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"], "use_cache": False}
        if not inputs["attention_mask"][:, 0].all():  # generated after prompts that are padded at their begin
            given["position_ids"] = (inputs["attention_mask"].long().cumsum(-1) - 1).clamp(min=0)
        student = _logits(model, given, kept, selects=self._selects)[learnt]
        teacher: Any = self.teacher_model.eval()
        with torch.no_grad():
            taught = _logits(teacher, given, kept, selects=self._teacher_selects)[learnt]
        return divergence(student, taught, beta=self.beta, count=num_items_in_batch)

    @cached_property
    def _selects(self) -> bool:
        return selects_positions(self.accelerator.unwrap_model(self.model))

    @cached_property
    def _teacher_selects(self) -> bool:
        return selects_positions(self.accelerator.unwrap_model(self.teacher_model))


def _logits(model: Any, given: Mapping[str, Any], kept: torch.Tensor, *, selects: bool) -> torch.Tensor:  # noqa: ANN401 - of transformers
    found: torch.Tensor = model(**given, logits_to_keep=kept).logits if selects else model(**given).logits[:, kept]
    return found
