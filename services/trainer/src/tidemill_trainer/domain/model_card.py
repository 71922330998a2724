"""The card of a model that was trained here, and what its adapter may say of itself."""

import json
from collections.abc import Mapping, Sequence

from tidemill_kit.models.manifest import ArtifactRefused
from tidemill_trainer.domain.fit import Choice
from tidemill_trainer.domain.losses import thinned
from tidemill_trainer.domain.training_run import TrainingRun

ADAPTER_FILES = frozenset({"adapter_model.safetensors", "adapter_config.json", "README.md"})
_NOTHING: tuple[object, ...] = (None, "", {}, [])
_MUST_BE_EMPTY = ("auto_mapping", "revision", "modules_to_save", "loftq_config", "layer_replication")
SHOWN_LOSSES = 20


def check_adapter_files(paths: Sequence[str]) -> None:
    """Refuse anything but an adapter's three files.

    Raises:
        ArtifactRefused: names the first file that is missing or added.

    """
    for path in sorted(ADAPTER_FILES ^ set(paths)):
        raise ArtifactRefused(path, "is missing" if path in ADAPTER_FILES else "is no file of an adapter")


def check_adapter_config(content: object, *, base: str) -> None:
    """Refuse a config that is not LoRA's, or that leads to another place than the base that the registry knows.

    Raises:
        ArtifactRefused: names what is wrong.

    """
    path = "adapter_config.json"
    if not isinstance(content, Mapping) or content.get("peft_type") != "LORA":
        raise ArtifactRefused(path, "is no config of a LoRA adapter")
    if content.get("base_model_name_or_path") not in (*_NOTHING, base):
        raise ArtifactRefused(path, f"base_model_name_or_path must be {base} or empty")
    for name in _MUST_BE_EMPTY:
        if content.get(name) not in _NOTHING:
            raise ArtifactRefused(path, f"{name} must be empty")


def _examples(run: TrainingRun) -> str:
    if run.examples is None:
        return "not counted"
    return run.examples.described(max_length=run.recipe.args["max_length"])


def _computed(run: TrainingRun) -> str:
    choice = run.fit.choice if run.fit else Choice.of(run.recipe.args)
    picked = ", picked to fit its memory" if run.limits.memory_auto else ""
    twice = ", every layer twice (gradient_checkpointing)" if choice.checkpointing else ""
    return f"{choice.batch_size} rows at once, {choice.accumulation_steps} times a step{twice}{picked}"


def model_card(run: TrainingRun) -> str:
    """Return the card as Markdown: how the adapter was made, so that it could be made again."""
    losses = ", ".join(f"{point.loss:.4f} at {point.step}" for point in thinned(run.progress.losses, SHOWN_LOSSES))
    recipe = json.dumps(
        {"method": run.recipe.method, "lora": dict(run.recipe.lora), "args": dict(run.recipe.args)},
        indent=2,
        sort_keys=True,
    )
    versions = "\n".join(f"- {name} {version}" for name, version in sorted(run.versions.items()))
    return f"""# {run.plan}

A LoRA adapter on `{run.base}`, trained by Tidemill. It answers only together with that base.

| | |
|---|---|
| Base | `{run.base}` |
| Dataset version | `{run.dataset.id}`, {run.dataset.examples} examples in its train part |
| Examples | {_examples(run)} |
| Train part | sha256 `{run.dataset.train.sha256}` |
| Training run | `{run.id}` |
| Seed | {run.recipe.args["seed"]} |
| Steps | {run.progress.step} in {run.progress.seconds:.0f} s |
| Computed | {_computed(run)} |

## Recipe

Settings of peft.LoraConfig and trl.SFTConfig, every default filled in; the loss is taken on the completion only.

```json
{recipe}
```

## Loss

By step: {losses}

## Versions

{versions}

## Licence

The base model's licence holds for the adapter too; who uses it checks that, and the rights in the examples.
"""
