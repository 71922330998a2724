"""The settings of a training, checked and with defaults filled in.

An allow-list: settings that could write elsewhere, upload data or run code are refused by name.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches

from tidemill_core.errors import InvalidInput, Violation
from tidemill_trainer.training.domain.memorisation import MemorisationCheck
from tidemill_trainer.training.domain.methods import METHODS, Setting, Value
from tidemill_trainer.training.domain.rewards import Reward, reward_violations

LONGEST_SHOWN = 40
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Method and all settings, with defaults filled in."""

    method: str
    lora: Mapping[str, Value]
    """Of an adapter; of full weights empty."""
    args: Mapping[str, Value]
    use_peft: bool = True
    """Whether it trains an adapter, in place of all weights of the base."""
    added_tokens: tuple[str, ...] = ()
    """Texts that become tokens of the vocabulary."""
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
    def makes_full_weights(self) -> bool:
        """Whether its runs register models without a base: what has a vocabulary of its own shares none."""
        return not self.use_peft or bool(self.added_tokens)

    @property
    def declared(self) -> Mapping[str, object]:
        """All of it as a plan would declare it."""
        found: dict[str, object] = {"method": self.method, "lora": dict(self.lora), "args": dict(self.args)}
        found |= {} if self.use_peft else {"use_peft": False}
        found |= {"added_tokens": list(self.added_tokens)} if self.added_tokens else {}
        if self.rewards:
            found["rewards"] = [dict(each.settings) for each in self.rewards]
        found |= {"teacher": self.teacher} if self.teacher else {}
        return found | ({"memorisation": asdict(self.memorisation)} if self.memorisation else {})


def recipe_of(  # noqa: PLR0913 - all of it is of one recipe
    *,
    method: str,
    lora: Mapping[str, object],
    args: Mapping[str, object],
    use_peft: bool = True,
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
    filled_lora: Mapping[str, Value] = {}
    if use_peft:
        filled_lora = _filled(lora, chosen.lora, field="plan.lora", of="peft.LoraConfig", violations=violations)
    settings = chosen.settings(use_peft=use_peft)
    filled_args = _filled(args, settings, field="plan.args", of=chosen.config, violations=violations)
    if method in METHODS:
        violations += _full_violations(method, lora, use_peft=use_peft)
        violations += _against_one_another(method, filled_lora, filled_args)
        violations += reward_violations(rewards, generates=chosen.generates)
        violations += _teacher_violations(teacher, method=method)
    if violations:
        raise InvalidInput.of(*violations)
    return Recipe(
        method=method,
        lora=filled_lora,
        args=filled_args,
        use_peft=use_peft,
        rewards=tuple(rewards),
        teacher=teacher,
    )


def min_batch_size(method: str, args: Mapping[str, Value]) -> int:
    """Return how many rows a batch has at least: KTO compares the answers of a batch with one another."""
    return 2 if method == "kto" and args["loss_type"] == "kto" else 1


def answer_tokens(args: Mapping[str, Value]) -> int:
    """Return how many tokens an answer has at most that is generated to learn from, 0 where none is."""
    if "lmbda" in args:
        return int(str(args["max_new_tokens"])) if args["lmbda"] else 0
    return int(str(args.get("max_completion_length", 0)))


def _full_violations(method: str, lora: Mapping[str, object], *, use_peft: bool) -> Iterator[Violation]:
    """Yield what does not go with full weights."""
    if use_peft:
        return
    if METHODS[method].full_learning_rate is None:
        able = " or ".join(name for name, each in METHODS.items() if each.full_learning_rate is not None)
        yield Violation("plan.use_peft", f"is false; {method} trains adapters only: use {able}, or leave use_peft out")
    for name in lora:
        text = "is set, and use_peft is false: full weights have no adapter; remove it, or leave use_peft out"
        yield Violation(f"plan.lora.{name[:LONGEST_SHOWN]}", text)


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
    if method in _COMPARES_WITH_BASE and lora.get("lora_dropout"):
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
