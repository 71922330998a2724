"""Job file of a training process: JSON, written by the worker."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tidemill_core.canaries import Canary
from tidemill_trainer.training.domain.fit import Choice
from tidemill_trainer.training.domain.memorisation import MemorisationCheck
from tidemill_trainer.training.domain.methods import METHODS
from tidemill_trainer.training.domain.recipe import Recipe
from tidemill_trainer.training.domain.rewards import JudgeReward, LengthBounds, Reward
from tidemill_trainer.training.domain.trial import HeldOut

NO_LIMIT = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """The folders of a model that is learnt from: of an adapter and its base, or of full weights alone."""

    base: str
    adapter: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """What a job plants: the check of its plan, and what its canaries are drawn by."""

    check: MemorisationCheck
    origin: str

    @property
    def canaries(self) -> list[tuple[Canary, int]]:
        """The canaries, and how often each is planted."""
        return self.check.planted(self.origin)


def recipe_fields(recipe: Recipe) -> Mapping[str, Any]:
    """Return the fields of a job that its recipe says, beside the models that it learns from and what it plants."""
    return {
        "method": recipe.method,
        "lora": {name: list(value) if isinstance(value, tuple) else value for name, value in recipe.lora.items()},
        "args": recipe.args,
        "use_peft": recipe.use_peft,
        "added_tokens": list(recipe.added_tokens),
        "rewards": recipe.rewards,
        "teacher_name": recipe.teacher,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Paths are absolute; `device` is auto, cpu or cuda; 0 threads means torch's default.

    With `memory_auto` the process chooses what fits `memory_bytes`, below `smaller_than` if given.
    """

    folder: str
    examples: str
    made: str
    """Where the files of a version are written: an adapter's, or those of full weights."""
    base: str
    base_name: str
    method: str
    lora: Mapping[str, Any]
    args: Mapping[str, Any]
    min_examples: int
    checkpoint_steps: int
    use_peft: bool = True
    """Whether an adapter is trained, in place of all weights of the base."""
    added_tokens: Sequence[str] = ()
    """Texts that become tokens of the vocabulary."""
    max_file_bytes: int = 2**63
    """Of a file of full weights."""
    device: str = "auto"
    numeric_format: Literal["auto", "bfloat16", "float32"] = "auto"
    threads: int = 0
    memory_bytes: int = 2**63
    memory_auto: bool = False
    smaller_than: Choice | None = None
    held_out: HeldOut | None = None
    """Of a trial: it is measured on this part, and writes no files of a version."""
    rewards: Sequence[Reward] = ()
    reward_models: Mapping[str, ModelFiles] = field(default_factory=dict)
    """Of the rewards that are reward models, by their name."""
    teacher: ModelFiles | None = None
    """Of a method that learns from another model."""
    teacher_name: str = ""
    max_kl: float = NO_LIMIT
    """The divergence from the base, in nats per token, above which a training has diverged."""
    processes: int = 1
    """How many compute it together, each a part of every step's rows."""
    rank_timeout_s: float = 600.0
    """How long one of them waits for another."""
    planted: Planted | None = None
    """The canaries that it learns and is measured by, if any."""
    measure_s: float = 1800.0
    """How long what it has memorised is measured."""
    held_out_examples: str = ""
    """Of a reward model: the held-out split that it is measured on, "" if there is none."""

    @property
    def makes_full_weights(self) -> bool:
        """Whether what it writes is a model without a base."""
        return not self.use_peft or bool(self.added_tokens)

    @property
    def makes_reward_model(self) -> bool:
        """Whether the model has a head that scores, in place of the vocabulary."""
        return METHODS[self.method].makes_reward_model

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return Path(self.folder) / "checkpoints"

    def write(self, path: Path) -> None:
        """Write the job file."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Job":
        """Read a job file."""
        received = json.loads(path.read_text(encoding="utf-8"))
        before, held_out, teacher = received["smaller_than"], received["held_out"], received["teacher"]
        planted = received["planted"]
        rewards = [_reward(each) for each in received["rewards"]]
        models = {name: ModelFiles(**each) for name, each in received["reward_models"].items()}
        return cls(
            **received
            | {
                "smaller_than": Choice(**before) if before else None,
                "held_out": HeldOut(**held_out) if held_out else None,
                "rewards": rewards,
                "reward_models": models,
                "teacher": ModelFiles(**teacher) if teacher else None,
                "planted": _planted(planted) if planted else None,
            }
        )


def _reward(received: Mapping[str, Any]) -> Reward:
    length, judge = received["length"], received["judge"]
    return Reward(
        **{
            **received,
            "length": LengthBounds(**length) if length else None,
            "judge": JudgeReward(**judge) if judge else None,
        }
    )


def _planted(received: Mapping[str, Any]) -> Planted:
    check = received["check"]
    return Planted(check=MemorisationCheck(**check | {"repeats": tuple(check["repeats"])}), origin=received["origin"])
