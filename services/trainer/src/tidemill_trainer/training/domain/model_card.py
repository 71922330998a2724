"""Model card of what was trained, and checks of an adapter's config."""

import json
from collections.abc import Mapping, Sequence

from tidemill_core.models.manifest import ArtifactRefused
from tidemill_trainer.registry.domain.reward_model import HEAD
from tidemill_trainer.training.domain.fit import Choice
from tidemill_trainer.training.domain.losses import thinned
from tidemill_trainer.training.domain.methods import METHODS
from tidemill_trainer.training.domain.run import TrainingRun

ADAPTER_FILES = frozenset({"adapter_model.safetensors", "adapter_config.json", "README.md"})
_NOTHING: tuple[object, ...] = (None, "", {}, [])
_MUST_BE_EMPTY = ("auto_mapping", "revision", "loftq_config", "layer_replication")
SHOWN_LOSSES = 20


def check_adapter_files(paths: Sequence[str]) -> None:
    """Check that the files are exactly an adapter's three.

    Raises:
        ArtifactRefused: names the first file that is missing or added.

    """
    for path in sorted(ADAPTER_FILES ^ set(paths)):
        raise ArtifactRefused(path, "is missing" if path in ADAPTER_FILES else "is not a file of an adapter")


def check_adapter_config(content: object, *, base: str, scores: bool = False) -> None:
    """Check that the config is a LoRA config, with a head exactly if it `scores`, and names no base but the registry's.

    Raises:
        ArtifactRefused: names what is wrong.

    """
    path = "adapter_config.json"
    if not isinstance(content, Mapping) or content.get("peft_type") != "LORA":
        raise ArtifactRefused(path, "is not a LoRA config")
    if content.get("base_model_name_or_path") not in (*_NOTHING, base):
        raise ArtifactRefused(path, f"base_model_name_or_path must be {base} or empty")
    for name in _MUST_BE_EMPTY:
        if content.get(name) not in _NOTHING:
            raise ArtifactRefused(path, f"{name} must be empty")
    head = content.get("modules_to_save")
    if scores and (head != [HEAD] or content.get("task_type") != "SEQ_CLS"):
        raise ArtifactRefused(path, f"modules_to_save must be [{HEAD}] and task_type SEQ_CLS: it is a reward model")
    if not scores and head not in _NOTHING:
        raise ArtifactRefused(path, "modules_to_save must be empty")


def _examples(run: TrainingRun) -> str:
    if run.examples is None:
        return "not counted"
    return run.examples.described(max_length=run.recipe.args["max_length"])


def _computed(run: TrainingRun) -> str:
    choice = run.fit.choice if run.fit else Choice.of(run.recipe.args)
    picked = ", chosen to fit the memory limit" if run.limits.memory_auto else ""
    twice = ", with gradient checkpointing" if choice.checkpointing else ""
    each = f" in each of {run.processes} processes" if run.processes > 1 else ""
    return f"batch size {choice.batch_size}{each}, {choice.accumulation_steps} accumulation steps{twice}{picked}"


def _introduced(run: TrainingRun) -> str:
    if run.recipe.makes_full_weights:
        how = "all of it" if not run.recipe.use_peft else "a LoRA adapter on it, merged into it"
        return f"Full weights from `{run.base}`: {how}, trained by Tidemill. They are loaded without that base."
    if not run.recipe.makes_reward_model:
        return f"A LoRA adapter on `{run.base}`, trained by Tidemill. Load it together with that base."
    return (
        f"A reward model: a LoRA adapter on `{run.base}` with a head of one number, trained by Tidemill. It scores "
        "answers and generates none. Load it with that base, as a model of sequence classification with one label."
    )


def _accuracy(run: TrainingRun) -> str:
    if not run.recipe.makes_reward_model:
        return ""
    accuracy = run.progress.accuracy
    said = f"{accuracy} (95 %)" if accuracy else "not measured: the dataset version holds out no pairs that fit"
    return f"\n| Accuracy | {said} |"


def _memorised(run: TrainingRun) -> str:
    check, found = run.recipe.memorisation, run.progress.memorisation
    if check is None:
        return ""
    planted = f"{check.canaries} made-up persons with a number each, {', '.join(map(str, check.repeats))} times in turn"
    return f"\n| Canaries planted | {planted}; none is of the dataset |\n| Memorised | {found or 'not measured'} |"


def _added_tokens(run: TrainingRun) -> str:
    count = len(run.recipe.added_tokens)
    return f"\n| Added tokens | {count}, in the tokenizer that is with these weights |" if count else ""


def _teacher(run: TrainingRun) -> str:
    return f"\n| Teacher | `{run.recipe.teacher}` |" if run.recipe.teacher else ""


def _loss(run: TrainingRun) -> str:
    if run.recipe.makes_reward_model:
        return "The loss compares the scores of the two answers of a pair."
    if run.recipe.rewards:
        return "It learns from the rewards of answers that it generates, which the curve `reward` of the run has."
    if run.recipe.teacher:
        return "The loss is how far it is from what its teacher would say at each token of the answers."
    return "The loss covers answers only."


def _of_sweep(run: TrainingRun) -> str:
    return f", with the best settings of sweep `{run.sweep}`" if run.sweep else ""


def model_card(run: TrainingRun) -> str:
    """Return the model card (Markdown) with everything needed to reproduce what was trained."""
    losses = ", ".join(f"{point.loss:.4f} at {point.step}" for point in thinned(run.progress.losses, SHOWN_LOSSES))
    recipe = json.dumps(run.recipe.declared, indent=2, sort_keys=True)
    lora = "peft.LoraConfig and " if run.recipe.use_peft else ""
    what = "these weights" if run.recipe.makes_full_weights else "the adapter"
    versions = "\n".join(f"- {name} {version}" for name, version in sorted(run.versions.items()))
    return f"""# {run.plan}

{_introduced(run)}

| | |
|---|---|
| Base | `{run.base}` |{_added_tokens(run)}{_teacher(run)}
| Dataset version | `{run.dataset.id}`, {run.dataset.examples} examples in the train split |
| Examples | {_examples(run)} |
| Train split | sha256 `{run.dataset.train.sha256}` |
| Training run | `{run.id}`{_of_sweep(run)} |
| Seed | {run.recipe.args["seed"]} |
| Steps | {run.progress.step} in {run.progress.seconds:.0f} s |
| Computed | {_computed(run)} |{_accuracy(run)}{_memorised(run)}

## Recipe

Settings of {lora}{METHODS[run.recipe.method].config}, with all defaults. {_loss(run)}

```json
{recipe}
```

## Loss

By step: {losses}

## Versions

{versions}

## Licence

The base model's licence applies to {what}; users must check it, and the rights in the examples.
"""
