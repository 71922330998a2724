"""TRL's supervised trainer, with a loss that checks completions only where TRL's checks everything.

On a processor, TRL 1.16 multiplies every position of a batch with the whole vocabulary, and throws away what the prompt
got. Of a prompt with passages and a short answer, that is nearly all of it: a third of a step's work, and its memory.
"""

from functools import cached_property
from inspect import signature
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from trl.trainer.sft_trainer import SFTTrainer

_IGNORED = -100


class CompletionTrainer(SFTTrainer):
    """Trains on the same loss as SFTTrainer with `loss_type="nll"`; its metrics beside the loss are not made."""

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
        kept = (labels != _IGNORED).any(dim=0).nonzero().flatten()
        given = {name: value for name, value in inputs.items() if name != "labels"}
        logits = model(**given, logits_to_keep=kept, use_cache=False).logits
        pending = labels[:, kept]
        total = cross_entropy(logits.flatten(0, 1).float(), pending.flatten(), ignore_index=_IGNORED, reduction="sum")
        count = (pending != _IGNORED).sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        return total / count.clamp(min=1)

    @cached_property
    def _able(self) -> bool:
        """Whether the base can be asked for some positions only, and its loss has no other part."""
        base = self.accelerator.unwrap_model(self.model).get_base_model()
        return "logits_to_keep" in signature(type(base).forward).parameters and not self.aux_loss_enabled
