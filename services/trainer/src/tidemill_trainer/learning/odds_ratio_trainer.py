"""ORPOTrainer on pairs that are tokens already, with a loss that covers answers only.

TRL 1.16 has ORPO among what it calls experimental. Its first term, the likelihood of the preferred answer, covers the
prompt as well, which would teach the passages and users' questions; here both terms come from the same logits, those of
the answers.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from trl.import_utils import TRLExperimentalWarning
from trl.trainer.utils import selective_log_softmax

from tidemill_trainer.learning.completion_trainer import IGNORED, selects_positions

with warnings.catch_warnings():
    warnings.simplefilter("ignore", TRLExperimentalWarning)
    from trl.experimental.orpo.orpo_config import ORPOConfig
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

__all__ = ["ORPOConfig", "OddsRatioTrainer"]


class OddsRatioTrainer(ORPOTrainer):
    """Odds ratio preference optimization (Hong et al., 2024): no reference model, one forward pass of both answers."""

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - of TRL
        """Take what ORPOTrainer takes; a tokenizer without a padding token pads with its end of text, as for DPO."""
        tokenizer = given["processing_class"]
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        super().__init__(**given)

    def tokenize_row(self, feature: Mapping[str, Sequence[int]], model: object = None) -> dict[str, Sequence[int]]:
        """Return a pair's tokens in the columns of TRL's collator."""
        del model
        prompt, columns = list(feature["prompt_ids"]), dict[str, Sequence[int]]()
        for name in ("chosen", "rejected"):
            answer = list(feature[f"{name}_ids"])
            columns[f"{name}_input_ids"] = prompt + answer
            columns[f"{name}_attention_mask"] = [1] * (len(prompt) + len(answer))
            columns[f"{name}_labels"] = [IGNORED] * len(prompt) + answer
        return columns

    def concatenated_forward(self, model: Any, batch: dict[str, Any]) -> Any:  # noqa: ANN401 - of peft, and as TRL has it
        """Return mean log probabilities and logits of both answers, and the loss of the preferred ones."""
        both = self.concatenated_inputs(batch, padding_value=self.padding_value, device=self.accelerator.device)
        labels = both["concatenated_labels"][:, 1:]
        kept = (labels != IGNORED).any(dim=0).nonzero().flatten()
        given: dict[str, Any] = (
            {"logits_to_keep": kept} if selects_positions(self.accelerator.unwrap_model(self.model)) else {}
        )
        if self.aux_loss_enabled:
            given["output_router_logits"] = True
        outputs = model(
            input_ids=both["concatenated_input_ids"],
            attention_mask=both["concatenated_attention_mask"],
            use_cache=False,
            **given,
        )
        logits = outputs.logits if "logits_to_keep" in given else outputs.logits[:, kept]
        labels, chosen = labels[:, kept], len(batch["chosen_labels"])
        learnt = labels != IGNORED
        found = selective_log_softmax(logits.float(), labels.clamp(min=0)) * learnt
        means, loss = found.sum(-1) / learnt.sum(-1), -found[:chosen].sum() / learnt[:chosen].sum()
        results = (means[:chosen], means[chosen:], logits[:chosen], logits[chosen:], loss)
        return (*results, outputs.aux_loss) if self.aux_loss_enabled else results
