"""The methods of training by TRL: what each learns from, its trainer and its settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset  # type: ignore[import-untyped] # it ships no types
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.reward_config import RewardConfig
from trl.trainer.sft_config import SFTConfig

from tidemill_trainer.learning.completion_trainer import CompletionTrainer
from tidemill_trainer.learning.examples import DEMONSTRATION, PREFERENCE, UNPAIRED
from tidemill_trainer.learning.reference import with_reference
from tidemill_trainer.learning.reward import PairTrainer


class PreferenceTrainer(DPOTrainer):
    """DPOTrainer on pairs that are tokens already; the base is the reference: without the adapter, or as it was."""

    def _prepare_dataset(self, dataset: Dataset, *_: object) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, _name: str, batch_size: int) -> Dataset:
        columns = ["ref_chosen_logps", "ref_rejected_logps"]
        return with_reference(self, dataset, batch_size=batch_size, columns=columns)


class LabelledTrainer(KTOTrainer):
    """KTOTrainer on labelled answers that are tokens already, with a reference as PreferenceTrainer."""

    def _prepare_dataset(self, dataset: Dataset, _processing_class: object, args: KTOConfig, name: str) -> Dataset:
        """Pair the answers of each batch, which ranks share; of held-out ones in batches that all trials have."""
        if not self.calculate_KL:
            return dataset
        size = args.per_device_eval_batch_size
        if name == "train":
            size = args.per_device_train_batch_size * args.world_size
        others = of_other_prompts(list(dataset["completion_ids"]), batch_size=size)
        return dataset.add_column("KL_completion_ids", others)

    def _precompute_ref_logps(self, dataset: Dataset, _name: str, batch_size: int) -> Dataset:
        columns = ["ref_logps", *(["ref_KL_logps"] if self.calculate_KL else [])]
        return with_reference(self, dataset, batch_size=batch_size, columns=columns)


def of_other_prompts(answers: Sequence[Sequence[int]], *, batch_size: int) -> Sequence[Sequence[int]]:
    """Return for each prompt the answer to the one before it in its batch, by which KTO estimates the divergence.

    An answer that is alone in the last batch has that of the batch before: its own would say nothing.
    """
    others: list[Sequence[int]] = []
    for start in range(0, len(answers), batch_size):
        batch = answers[start : start + batch_size]
        others += [answers[start - 1]] if len(batch) == 1 else [batch[-1], *batch[:-1]]
    return others


def _grpo_trainer(**given: Any) -> Any:  # noqa: ANN401 - of TRL
    from tidemill_trainer.learning.generating_trainer import GeneratingTrainer  # noqa: PLC0415 - with what only it needs

    return GeneratingTrainer(**given)


def _grpo_config(**given: Any) -> Any:  # noqa: ANN401 - of TRL
    from tidemill_trainer.learning.generating_trainer import settings_of_grpo  # noqa: PLC0415 - ditto

    return settings_of_grpo(**given)


def _orpo_trainer(**given: object) -> Any:  # noqa: ANN401 - of TRL
    from tidemill_trainer.learning.odds_ratio_trainer import OddsRatioTrainer  # noqa: PLC0415 - with what only it needs

    return OddsRatioTrainer(**given)


def _orpo_config(**given: Any) -> Any:  # noqa: ANN401 - of TRL
    from tidemill_trainer.learning.odds_ratio_trainer import ORPOConfig  # noqa: PLC0415 - ditto

    return ORPOConfig(**given)


def _distilling_trainer(**given: Any) -> Any:  # noqa: ANN401 - of TRL
    from tidemill_trainer.learning.distilling_trainer import (  # noqa: PLC0415 - with what only it needs
        DistillingTrainer,
    )

    return DistillingTrainer(**given)


def _distilling_config(**given: Any) -> Any:  # noqa: ANN401 - of TRL
    from tidemill_trainer.learning.distilling_trainer import GKDConfig  # noqa: PLC0415 - ditto

    return GKDConfig(**given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How a recipe's method is carried out."""

    kinds: Sequence[str]
    """The kinds of examples that it learns from."""
    trainer: Callable[..., Any]
    config: Callable[..., Any]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Settings that are not the recipe's."""
    labelled: bool = False
    """Whether it learns from single answers with a label; pairs are two of them."""
    keeps_answers: bool = False
    """Whether it learns from the answers of examples beside those that it generates."""
    fixed_for_full: Mapping[str, Any] = field(default_factory=dict)
    """Settings that are not the recipe's, where all weights are trained."""

    def settings(self, args: Mapping[str, Any], *, use_peft: bool = True, **ours: object) -> Any:  # noqa: ANN401 - of TRL
        """Return TRL's settings: those of the recipe, the method's own, and ours. Empty ones are TRL's defaults."""
        given = {
            name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
            for name, value in args.items()
            if value not in ((), [])
        }
        return self.config(**given, **self.fixed, **({} if use_peft else self.fixed_for_full), **ours)


_REFERENCE_FIRST = {"precompute_ref_log_probs": True}
"""The base is asked about all rows before its weights change."""
METHODS = {
    "sft": Method(
        kinds=[DEMONSTRATION],
        trainer=CompletionTrainer,
        config=SFTConfig,
        fixed={"completion_only_loss": True, "eval_packing": False},
    ),
    "dpo": Method(
        kinds=[PREFERENCE],
        trainer=PreferenceTrainer,
        config=DPOConfig,
        fixed_for_full=_REFERENCE_FIRST,
    ),
    "orpo": Method(kinds=[PREFERENCE], trainer=_orpo_trainer, config=_orpo_config, fixed={"disable_dropout": False}),
    "kto": Method(
        kinds=[UNPAIRED, PREFERENCE],
        trainer=LabelledTrainer,
        config=KTOConfig,
        labelled=True,
        fixed_for_full=_REFERENCE_FIRST,
    ),
    "reward": Method(kinds=[PREFERENCE], trainer=PairTrainer, config=RewardConfig, fixed={"disable_dropout": False}),
    "grpo": Method(kinds=[DEMONSTRATION, PREFERENCE], trainer=_grpo_trainer, config=_grpo_config),
    "distill": Method(
        kinds=[DEMONSTRATION],
        trainer=_distilling_trainer,
        config=_distilling_config,
        fixed={"disable_dropout": False},
        keeps_answers=True,
    ),
}
