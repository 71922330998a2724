"""The methods of training by TRL: what each learns from, its trainer and its settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset  # type: ignore[import-untyped] # it ships no types
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig

from tidemill_trainer.learning.completion_trainer import CompletionTrainer
from tidemill_trainer.learning.examples import DEMONSTRATION, PREFERENCE


class PreferenceTrainer(DPOTrainer):
    """DPOTrainer on pairs that are tokens already; the base without the adapter is the reference."""

    def _prepare_dataset(self, dataset: Dataset, *_: object) -> Dataset:
        return dataset


@dataclass(frozen=True, slots=True)
class Method:
    """How a recipe's method is carried out."""

    kind: str
    """The kind of examples that it learns from."""
    trainer: Callable[..., Any]
    config: Callable[..., Any]
    fixed: Mapping[str, Any]
    """Settings that are not the recipe's."""

    def settings(self, args: Mapping[str, Any], **ours: object) -> Any:  # noqa: ANN401 - of TRL
        """Return TRL's settings: those of the recipe, the method's own, and ours. Empty ones are TRL's defaults."""
        given = {
            name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
            for name, value in args.items()
            if value not in ((), [])
        }
        return self.config(**given, **self.fixed, **ours)


METHODS = {
    "sft": Method(DEMONSTRATION, CompletionTrainer, SFTConfig, {"completion_only_loss": True}),
    "dpo": Method(PREFERENCE, PreferenceTrainer, DPOConfig, {}),
}
