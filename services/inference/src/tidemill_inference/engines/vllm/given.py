"""The folder that vLLM reads a model from: what transformers is passed on of a verified one, and nothing else."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from tidemill_core.errors import isolated
from tidemill_core.models.manifest import ArtifactRefused
from tidemill_inference.engines.transformers.building import BUILDING
from tidemill_inference.engines.transformers.weights import check_tokenizer
from tidemill_inference.errors import ModelRefused
from tidemill_kit.models.folders import CONFIG, checked_config, passed_on

_FOLDER_MODE = 0o700
_written: "dict[Path, Given]" = {}
"""What was written last to each folder."""


@dataclass(frozen=True, slots=True)
class Given:
    """What was written, and what is known of the model by it."""

    folder: Path
    tokenizer: Any
    context_tokens: int
    """0 is unknown."""


def write_given(folder: Path, given: Path, *, name: str) -> Given:
    """Write the folder anew; blocks for a second or two.

    Raises:
        ModelRefused: the model cannot be served.

    """
    shutil.rmtree(given, ignore_errors=True)
    given.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    try:
        made = _written[given] = _write(folder, given, name=name)
    except BaseException:
        shutil.rmtree(given, ignore_errors=True)
        raise
    return made


def _write(folder: Path, given: Path, *, name: str) -> Given:
    architectures: list[str] = []

    def build(config: Any) -> Any:  # noqa: ANN401 - of transformers
        network = AutoModelForCausalLM.from_config(config)
        architectures.append(type(network).__name__)
        return network

    try:
        with isolated(), BUILDING, passed_on(folder) as passed:
            config = checked_config(folder, build)
            shutil.copytree(passed, given, symlinks=True)
            tokenizer: Any = AutoTokenizer.from_pretrained(given, local_files_only=True, trust_remote_code=False)
    except ArtifactRefused as error:
        raise ModelRefused(name, why=error.message) from error
    except Exception as error:  # each model class of transformers checks its config in its own way
        why = f"transformers {transformers.__version__} cannot read it ({type(error).__name__})"
        raise ModelRefused(name, why=why) from error
    check_tokenizer(tokenizer, name=name)
    written = json.loads(config.to_json_string(use_diff=False)) | {"architectures": architectures}
    (given / CONFIG).write_text(json.dumps(written), encoding="utf-8")
    context_tokens = int(getattr(config.get_text_config(), "max_position_embeddings", 0) or 0)
    return Given(given, tokenizer, context_tokens)


def remove_given(given: Given) -> None:
    """Remove a folder that is not read any more, unless it was written anew meanwhile."""
    if _written.get(given.folder) is given:
        del _written[given.folder]
        shutil.rmtree(given.folder, ignore_errors=True)
