"""Training settings, named as in peft.LoraConfig and in TRL's config of each method, each with its range.

An allow-list: settings that could write elsewhere, upload data or run code are refused by name.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from typing import TypeAlias

from tidemill_core.errors import InvalidInput, Violation
from tidemill_trainer.training.domain.memorisation import MemorisationCheck
from tidemill_trainer.training.domain.rewards import Reward, reward_violations

Value: TypeAlias = str | int | float | bool | tuple[str, ...] | tuple[float, ...]
Check: TypeAlias = Callable[[object], Value | None]
"""Converts a value to its type; None if it is out of range."""

MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,127}")
MAX_MODULES = 64
LONGEST_SHOWN = 40
PREFERENCE_LOSSES = ("sigmoid", "sigmoid_norm", "hinge", "ipo", "apo_zero", "apo_down")
"""What DPO may lower; `sft` may be added to one of them."""
LOSSES = (*PREFERENCE_LOSSES, "sft")
_COMPARES_WITH_BASE = ("dpo", "kto")

_PLACE = "the service sets the output paths"
_SENDS = "a training uploads nothing"
_RUNS = "code is never loaded"
_MACHINES = "the service divides a training among the plan's `processes`"
REFUSED = {
    "output_dir": _PLACE,
    "logging_dir": _PLACE,
    "resume_from_checkpoint": _PLACE,
    "push_to_hub": _SENDS,
    "hub_token": _SENDS,
    "hub_model_id": _SENDS,
    "hub_strategy": _SENDS,
    "hub_private_repo": _SENDS,
    "report_to": _SENDS,
    "trust_remote_code": _RUNS,
    "model_init_kwargs": _RUNS,
    "chat_template_path": _RUNS,
    "auto_mapping": _RUNS,
    "loftq_config": _RUNS,
    "base_model_name_or_path": "the base is the plan's `base`",
    "revision": "the base is the plan's `base`",
    "modules_to_save": "an adapter contains LoRA weights only",
    "deepspeed": _MACHINES,
    "fsdp": _MACHINES,
    "fsdp_config": _MACHINES,
    "accelerator_config": _MACHINES,
    "dataloader_num_workers": _MACHINES,
}
"""Settings refused with a specific reason; errors do not repeat their values."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: default, accepted values and their description."""

    default: Value
    check: Check
    allowed: str
    within: tuple[float, float] | None = None
    """Of numbers: from where to where all are accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Method and all settings, with defaults filled in."""

    method: str
    lora: Mapping[str, Value]
    args: Mapping[str, Value]
    rewards: tuple[Reward, ...] = ()
    """Of a method that generates answers."""
    teacher: str = ""
    """Of a method that learns from another model: `model` or `model@version`; of a run `model@version`."""
    memorisation: MemorisationCheck | None = None
    """What it plants to measure what it memorises, and how."""

    @property
    def makes_reward_model(self) -> bool:
        """Whether its runs register reward models."""
        return self.method in METHODS and METHODS[self.method].makes_reward_model

    @property
    def declared(self) -> Mapping[str, object]:
        """All of it as a plan would declare it."""
        found: dict[str, object] = {"method": self.method, "lora": dict(self.lora), "args": dict(self.args)}
        if self.rewards:
            found["rewards"] = [dict(each.settings) for each in self.rewards]
        found |= {"teacher": self.teacher} if self.teacher else {}
        return found | ({"memorisation": asdict(self.memorisation)} if self.memorisation else {})


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

    @property
    def divides(self) -> bool:
        """Whether several processes can compute a step together."""
        return not self.generates and not self.has_teacher


METHODS: Mapping[str, Method] = {
    "sft": Method("trl.SFTConfig", {**_ARGS, **_OF_SFT}),
    "dpo": Method("trl.DPOConfig", {**_ARGS, **_OF_DPO}),
    "orpo": Method("trl.experimental.orpo.ORPOConfig", {**_ARGS, **_OF_ORPO}),
    "kto": Method("trl.KTOConfig", {**_ARGS, **_OF_KTO}),
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


def recipe_of(
    *,
    method: str,
    lora: Mapping[str, object],
    args: Mapping[str, object],
    rewards: Sequence[Reward] = (),
    teacher: str = "",
) -> Recipe:
    """Validate the settings and fill in defaults.

    Raises:
        InvalidInput: names every setting that is wrong, with its value and what is allowed.

    """
    violations: list[Violation] = []
    if method not in METHODS:
        violations.append(Violation("plan.method", f"is {_shown(method)}; allowed: {' or '.join(METHODS)}"))
    chosen = METHODS.get(method, METHODS["sft"])
    filled_lora = _filled(lora, chosen.lora, field="plan.lora", of="peft.LoraConfig", violations=violations)
    filled_args = _filled(args, chosen.args, field="plan.args", of=chosen.config, violations=violations)
    if method in METHODS:
        violations += _against_one_another(method, filled_lora, filled_args)
        violations += reward_violations(rewards, generates=chosen.generates)
        violations += _teacher_violations(teacher, method=method)
    if violations:
        raise InvalidInput.of(*violations)
    return Recipe(method=method, lora=filled_lora, args=filled_args, rewards=tuple(rewards), teacher=teacher)


def min_batch_size(method: str, args: Mapping[str, Value]) -> int:
    """Return how many rows a batch has at least: KTO compares the answers of a batch with one another."""
    return 2 if method == "kto" and args["loss_type"] == "kto" else 1


def answer_tokens(args: Mapping[str, Value]) -> int:
    """Return how many tokens an answer has at most that is generated to learn from, 0 where none is."""
    if "lmbda" in args:
        return int(str(args["max_new_tokens"])) if args["lmbda"] else 0
    return int(str(args.get("max_completion_length", 0)))


def _teacher_violations(teacher: str, *, method: str) -> Iterator[Violation]:
    if METHODS[method].has_teacher and not teacher:
        yield Violation(
            "plan.teacher", f"is empty; {method} needs the model that is learnt from: model or model@version"
        )
    if teacher and not METHODS[method].has_teacher:
        text = f"is {_shown(teacher)}; {method} has no teacher: remove it, or use method distill"
        yield Violation("plan.teacher", text)


def _filled(
    given: Mapping[str, object], known: Mapping[str, Setting], *, field: str, of: str, violations: list[Violation]
) -> Mapping[str, Value]:
    filled: dict[str, Value] = {name: setting.default for name, setting in known.items()}
    for name, value in given.items():
        if name not in known:
            violations.append(Violation(f"{field}.{name[:LONGEST_SHOWN]}", _unknown(name, known, of)))
        elif (checked := known[name].check(value)) is None:
            violations.append(Violation(f"{field}.{name}", f"is {_shown(value)}; allowed: {known[name].allowed}"))
        else:
            filled[name] = checked
    return filled


def _against_one_another(method: str, lora: Mapping[str, Value], args: Mapping[str, Value]) -> Iterator[Violation]:
    losses, weights = args.get("loss_type"), args.get("loss_weights")
    if isinstance(losses, tuple) and isinstance(weights, tuple) and len(weights) not in (0, len(losses)):
        text = f"has {len(weights)} numbers; loss_type has {len(losses)}: give one for each, or none"
        yield Violation("plan.args.loss_weights", text)
    if method in _COMPARES_WITH_BASE and lora["lora_dropout"]:
        text = f"is {lora['lora_dropout']}; {method} compares with the base without dropout: use 0"
        yield Violation("plan.lora.lora_dropout", text)
    if METHODS[method].generates:
        yield from _against_generations(args)
    yield from _too_long_answers(args)
    minimum = min_batch_size(method, args)
    if int(str(args["per_device_train_batch_size"])) < minimum:
        text = f"is below {minimum}, which kto needs to estimate how far it is from the base; or use apo_zero_unpaired"
        yield Violation("plan.args.per_device_train_batch_size", text)


def _against_generations(args: Mapping[str, Value]) -> Iterator[Violation]:
    names = ("per_device_train_batch_size", "gradient_accumulation_steps", "num_generations")
    batch, accumulated, generations = (int(str(args[name])) for name in names)
    if batch * accumulated % generations:
        text = (
            f"is {generations}; per_device_train_batch_size x gradient_accumulation_steps = {batch * accumulated} must "
            "be a multiple of it: all answers to a prompt are in one step"
        )
        yield Violation("plan.args.num_generations", text)


def _too_long_answers(args: Mapping[str, Value]) -> Iterator[Violation]:
    answer, length = answer_tokens(args), int(str(args["max_length"]))
    if answer >= length:
        name = "max_new_tokens" if "lmbda" in args else "max_completion_length"
        text = f"is {answer}; it must be below max_length = {length}, which holds for prompt and answer"
        yield Violation(f"plan.args.{name}", text)


def _unknown(name: str, known: Mapping[str, Setting], of: str) -> str:
    if name in REFUSED:
        return f"is refused: {REFUSED[name]}"
    near = get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"is not a supported setting; {meant}supported of {of}: {', '.join(sorted(known))}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
