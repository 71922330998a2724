"""The methods of training and their settings, named as in peft.LoraConfig and in TRL's config of each, with ranges."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

Value: TypeAlias = str | int | float | bool | tuple[str, ...] | tuple[float, ...]
Check: TypeAlias = Callable[[object], Value | None]
"""Converts a value to its type; None if it is out of range."""

MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,127}")
MAX_MODULES = 64
PREFERENCE_LOSSES = ("sigmoid", "sigmoid_norm", "hinge", "ipo", "apo_zero", "apo_down")
"""What DPO may lower; `sft` may be added to one of them."""
LOSSES = (*PREFERENCE_LOSSES, "sft")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: default, accepted values and their description."""

    default: Value
    check: Check
    allowed: str
    within: tuple[float, float] | None = None
    """Of numbers: from where to where all are accepted."""


def _whole(default: int, low: int, high: int, *, also: int | None = None) -> Setting:
    def check(value: object) -> Value | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            return None
        return int(value) if low <= value <= high or (also is not None and value == also) else None

    return Setting(
        default,
        check,
        f"a whole number from {low} to {high}" + (f", or {also}" if also is not None else ""),
        within=(low, high),
    )


def _number(default: float, low: float, high: float) -> Setting:
    def check(value: object) -> Value | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return float(value) if low <= value <= high else None

    return Setting(default, check, f"a number from {low:g} to {high:g}", within=(low, high))


def _one_of(default: str, *others: str) -> Setting:
    choice = (default, *others)
    return Setting(default, lambda value: str(value) if value in choice else None, " or ".join(choice))


def _flag(*, default: bool) -> Setting:
    return Setting(default, lambda value: value if isinstance(value, bool) else None, "true or false")


def _losses(value: object) -> Value | None:
    names = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    if not all(name in LOSSES for name in names) or len(set(names)) < len(names):
        return None
    return tuple(map(str, names)) if not set(names).isdisjoint(PREFERENCE_LOSSES) else None


def _weights(value: object) -> Value | None:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > len(LOSSES):
        return None
    found = [_number(1.0, 0.0, 100.0).check(each) for each in value]
    weights = tuple(each for each in found if isinstance(each, float))
    return weights if len(weights) == len(value) else None


def _modules(value: object) -> Value | None:
    if value == "all-linear":
        return "all-linear"
    if not isinstance(value, Sequence) or isinstance(value, str) or not 0 < len(value) <= MAX_MODULES:
        return None
    names = tuple(name for name in value if isinstance(name, str) and MODULE.fullmatch(name))
    return names if len(names) == len(value) else None


LORA: Mapping[str, Setting] = {
    "r": _whole(8, 1, 256),
    "lora_alpha": _whole(16, 1, 1024),
    "lora_dropout": _number(0.0, 0.0, 0.9),
    "target_modules": Setting("all-linear", _modules, f"all-linear, or a list of 1 to {MAX_MODULES} names of modules"),
    "use_dora": _flag(default=False),
    "use_rslora": _flag(default=False),
    "bias": _one_of("none"),
    "task_type": _one_of("CAUSAL_LM"),
}
_LORA_OF_REWARD: Mapping[str, Setting] = {**LORA, "task_type": _one_of("SEQ_CLS")}
_ARGS: Mapping[str, Setting] = {
    "learning_rate": _number(2e-4, 1e-8, 0.1),
    "lr_scheduler_type": _one_of("linear", "cosine", "constant", "constant_with_warmup"),
    "warmup_steps": _whole(0, 0, 100_000),
    "max_steps": _whole(-1, 1, 1_000_000, also=-1),
    "num_train_epochs": _number(3.0, 0.01, 1000.0),
    "per_device_train_batch_size": _whole(8, 1, 1024),
    "gradient_accumulation_steps": _whole(1, 1, 1024),
    "max_length": _whole(1024, 8, 131_072),
    "optim": _one_of("adamw_torch_fused", "adamw_torch", "adafactor", "sgd"),
    "weight_decay": _number(0.0, 0.0, 1.0),
    "max_grad_norm": _number(1.0, 0.0, 1000.0),
    "adam_beta1": _number(0.9, 0.0, 0.9999),
    "adam_beta2": _number(0.999, 0.0, 0.999999),
    "adam_epsilon": _number(1e-8, 1e-12, 1e-2),
    "gradient_checkpointing": _flag(default=False),
    "logging_steps": _whole(1, 1, 10_000),
    "seed": _whole(42, 0, 2**32 - 1),
}
_OF_SFT: Mapping[str, Setting] = {"packing": _flag(default=False)}
_OF_DPO: Mapping[str, Setting] = {
    "learning_rate": _number(5e-5, 1e-8, 0.1),
    "beta": _number(0.1, 1e-3, 10.0),
    "loss_type": Setting(("sigmoid",), _losses, f"a list of {', '.join(PREFERENCE_LOSSES)}, and sft beside them"),
    "loss_weights": Setting((), _weights, "a number from 0 to 100 for each loss_type"),
}
_OF_ORPO: Mapping[str, Setting] = {
    "learning_rate": _number(5e-5, 1e-8, 0.1),
    "beta": _number(0.1, 1e-3, 10.0),
}
_OF_KTO: Mapping[str, Setting] = {
    "learning_rate": _number(5e-5, 1e-8, 0.1),
    "beta": _number(0.1, 1e-3, 10.0),
    "loss_type": _one_of("kto", "apo_zero_unpaired"),
    "desirable_weight": _number(1.0, 0.01, 100.0),
    "undesirable_weight": _number(1.0, 0.01, 100.0),
}
_OF_REWARD: Mapping[str, Setting] = {
    "learning_rate": _number(1e-4, 1e-8, 0.1),
    "center_rewards_coefficient": _number(0.0, 0.0, 10.0),
}
_OF_GRPO: Mapping[str, Setting] = {
    "learning_rate": _number(1e-5, 1e-8, 0.1),
    "beta": _number(0.04, 1e-3, 10.0),
    "num_generations": _whole(8, 2, 64),
    "max_completion_length": _whole(256, 8, 4096),
    "temperature": _number(1.0, 0.01, 2.0),
    "top_p": _number(1.0, 0.01, 1.0),
    "top_k": _whole(0, 0, 1000),
    "repetition_penalty": _number(1.0, 0.5, 2.0),
    "epsilon": _number(0.2, 0.01, 1.0),
    "loss_type": _one_of("dapo", "grpo", "bnpo", "dr_grpo"),
    "scale_rewards": _one_of("group", "batch", "none"),
    "mask_truncated_completions": _flag(default=False),
}
_OF_DISTILL: Mapping[str, Setting] = {
    "beta": _number(0.5, 0.0, 1.0),
    "lmbda": _number(0.0, 0.0, 1.0),
    "temperature": _number(0.9, 0.01, 2.0),
    "max_new_tokens": _whole(128, 8, 4096),
}


@dataclass(frozen=True, slots=True)
class Method:
    """A way of learning: where its settings are named, and which it has."""

    config: str
    args: Mapping[str, Setting]
    lora: Mapping[str, Setting] = field(default_factory=lambda: LORA)
    makes_reward_model: bool = False
    """Whether it makes what scores answers, in place of what generates them."""
    generates: bool = False
    """Whether it learns from answers that it generates, by rewards."""
    has_teacher: bool = False
    """Whether it learns from what another model would say."""
    full_learning_rate: float | None = None
    """TRL's default where all weights are trained; None of a method that trains adapters only."""

    def settings(self, *, use_peft: bool) -> Mapping[str, Setting]:
        """Return the settings of TRL's config, whose default learning rate is another one for full weights."""
        if use_peft or self.full_learning_rate is None:
            return self.args
        return {**self.args, "learning_rate": replace(self.args["learning_rate"], default=self.full_learning_rate)}

    @property
    def divides(self) -> bool:
        """Whether several processes can compute a step together."""
        return not self.generates and not self.has_teacher


METHODS: Mapping[str, Method] = {
    "sft": Method("trl.SFTConfig", {**_ARGS, **_OF_SFT}, full_learning_rate=2e-5),
    "dpo": Method("trl.DPOConfig", {**_ARGS, **_OF_DPO}, full_learning_rate=1e-6),
    "orpo": Method("trl.experimental.orpo.ORPOConfig", {**_ARGS, **_OF_ORPO}, full_learning_rate=1e-6),
    "kto": Method("trl.KTOConfig", {**_ARGS, **_OF_KTO}, full_learning_rate=1e-6),
    "reward": Method("trl.RewardConfig", {**_ARGS, **_OF_REWARD}, _LORA_OF_REWARD, makes_reward_model=True),
    "grpo": Method("trl.GRPOConfig", {**_ARGS, **_OF_GRPO}, generates=True),
    "distill": Method("trl.experimental.gkd.GKDConfig", {**_ARGS, **_OF_DISTILL}, has_teacher=True),
}
"""Supervised fine-tuning on demonstrations; direct preference optimization (Rafailov et al., 2023) and odds ratio
preference optimization (Hong et al., 2024) on pairs; Kahneman-Tversky optimization (Ethayarajh et al., 2024) on answers
that are good or bad; a reward model on pairs (by the model of Bradley and Terry, 1952; Ouyang et al., 2022); group
relative policy optimization (Shao et al., 2024) on generated answers; generalized knowledge distillation (Agarwal et
al., 2024) from a teacher.
"""
