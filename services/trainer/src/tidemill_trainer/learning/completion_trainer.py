"""SFTTrainer with a loss that computes logits for completion tokens only.

On a CPU, TRL 1.16 computes logits over the whole vocabulary for every position and discards those of the prompt. With
retrieved passages and a short answer that is nearly all of them: a third of a step's work, and its memory.
"""

from functools import cached_property
from inspect import signature
from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from trl.trainer.sft_trainer import SFTTrainer

IGNORED = -100
"""The label of tokens that are not learnt."""


def selects_positions(model: Any) -> bool:  # noqa: ANN401 - of peft
    """Return whether a model, or the base of an adapted one, can compute logits for selected positions."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    return "logits_to_keep" in signature(type(base).forward).parameters


class MeasuredByLoss:
    """Of a Trainer: held-out rows have the loss of training and nothing else, computed as that is."""

    def prediction_step(
        self,
        model: Any,  # noqa: ANN401 - a transformers model, wrapped by accelerate
        inputs: dict[str, torch.Tensor],
        prediction_loss_only: bool,  # noqa: FBT001 - TRL's signature
        ignore_keys: list[str] | None = None,
    ) -> tuple[torch.Tensor, None, None]:
        """Return the loss of held-out rows."""
        del prediction_loss_only, ignore_keys
        trainer: Any = self
        prepared: Any = trainer._prepare_inputs(inputs)  # noqa: SLF001 - as its own loops call it
        with torch.no_grad(), trainer.compute_loss_context_manager():
            return trainer.compute_loss(model, prepared).detach(), None, None


class CompletionTrainer(MeasuredByLoss, SFTTrainer):
    """Same loss as SFTTrainer with `loss_type="nll"`; other metrics are not computed."""

    def compute_loss(
        self,
        model: Any,  # noqa: ANN401 - a transformers model, wrapped by accelerate
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,  # noqa: FBT001, FBT002 - TRL's signature
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:  # noqa: ANN401 - ditto
        """Return the mean negative log-likelihood of the completions' tokens."""
        if inputs["labels"].device.type != "cpu" or return_outputs or not self._able:
            return super().compute_loss(  # type: ignore[no-untyped-call] # TRL has no types
                model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
            )
        labels = inputs["labels"][:, 1:]
        kept = (labels != IGNORED).any(dim=0).nonzero().flatten()
        given = {name: value for name, value in inputs.items() if name != "labels"}
        logits = model(**given, logits_to_keep=kept, use_cache=False).logits
        targets = labels[:, kept]
        total = cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum")
        count = (targets != IGNORED).sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        ranks = 1 if num_items_in_batch is None else self.accelerator.num_processes
        return total * ranks / count.clamp(min=1)  # the items are those of all ranks, and their gradients are averaged

    @cached_property
    def _able(self) -> bool:
        """Whether the base can compute logits for selected positions and its loss has no additional terms."""
        return selects_positions(self.accelerator.unwrap_model(self.model)) and not self.aux_loss_enabled
