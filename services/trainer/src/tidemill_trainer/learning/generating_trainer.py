"""GRPOTrainer on prompts that are tokens already, with rewards of a fixed list.

Answers are generated in this process by transformers, with the weights that the last step made: an engine of inference
would have to be given each step's adapter, and its answers be weighted by how far they are from these weights.
"""

from collections.abc import Sequence
from typing import Any

import torch
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from tidemill_trainer.learning.judge_reward import UNSCORED

_SHOWN = frozenset(
    {
        *("reward", "kl", "frac_reward_zero_std", "completions/mean_length", "completions/clipped_ratio"),
        *("num_tokens", UNSCORED),
    }
)
"""Beside the mean of each reward: at most 17 curves with the learning rate and the norm of the gradient."""


class GeneratingTrainer(GRPOTrainer):
    """Group relative policy optimization (Shao et al., 2024)."""

    def _tokenize_prompts(self, prompts: Sequence[Sequence[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """Return the prompts as they are: control tokens in users' texts were made plain text."""
        return [list(prompt) for prompt in prompts], None, {}

    def _calculate_rewards(self, *given: Any) -> torch.Tensor:  # noqa: ANN401 - of TRL
        """Return the rewards of each answer, of one that lacks any none: TRL learns nothing from it.

        It would add up the others, so that an answer that was not judged is like one of the lowest score.
        """
        rewards: torch.Tensor = super()._calculate_rewards(*given)
        rewards[rewards.isnan().any(dim=1)] = torch.nan
        return rewards

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log what says how the training goes: of all that TRL counts, too many numbers for the curves of a run."""
        metrics = self._metrics["train" if self.model.training else "eval"]
        for name in [each for each in metrics if not _is_shown(each)]:
            del metrics[name]
        super().log(logs, start_time)


def _is_shown(name: str) -> bool:
    return name in _SHOWN or (name.startswith("rewards/") and name.endswith("/mean"))


def settings_of_grpo(*, max_length: int, **given: Any) -> GRPOConfig:  # noqa: ANN401 - of TRL
    """Return TRL's settings. It has no `max_length`: longer prompts are left out before it sees them."""
    del max_length
    return GRPOConfig(**given)
