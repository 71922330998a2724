"""How much memory a training will take at least, and takes."""

import json
from pathlib import Path
from typing import Any

from tidemill_trainer.application.ports import TrainingJob
from tidemill_trainer.domain.errors import TrainingFailed
from tidemill_trainer.domain.memory import BaseShape, least_bytes

NUMBER_BYTES = 2
"""Of bfloat16: where a processor has only float32, more is taken than is estimated."""
CHARACTERS_PER_TOKEN = 8
"""More than any tokenizer reaches on text, so that the estimate stays below the truth."""


def refuse_what_cannot_fit(job: TrainingJob) -> None:
    """Compare the least that a training needs with what it may take.

    Raises:
        TrainingFailed: OUT_OF_MEMORY, with both figures; BASE_NOT_TRAINABLE where the base does not say its shape.

    """
    try:
        shape = _shape(job.base)
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        message = (
            f"the config.json of {job.base_name} does not say its shape: hidden_size, num_hidden_layers and "
            "max_position_embeddings must be numbers, text_config an object where it is there"
        )
        raise TrainingFailed(message, reason="BASE_NOT_TRAINABLE") from error
    needed = least_bytes(shape, job.recipe, tokens=_mean_tokens(job.folder.examples), number_bytes=NUMBER_BYTES)
    if needed > job.memory_bytes:
        message = (
            f"the training needs at least {needed} bytes of memory, {job.memory_bytes} is its limit: use a smaller "
            "batch, max_length or base, or gradient_checkpointing"
        )
        raise TrainingFailed(message, reason="OUT_OF_MEMORY")


def taken_bytes(pid: int) -> int:
    """Return the memory that a process has for itself, without files that it maps; 0 once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return sum(int(fields.get(name, "0").split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))


def _shape(base: Path) -> BaseShape:
    config: dict[str, Any] = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config = config.get("text_config", config)
    stored = sum(path.stat().st_size for path in base.rglob("*.safetensors"))
    wide = str(config.get("dtype", config.get("torch_dtype", ""))) == "float32"
    return BaseShape(
        weight_bytes=stored // 2 if wide else stored,
        hidden=int(config.get("hidden_size", 0)),
        layers=int(config.get("num_hidden_layers", 0)),
        context=int(config.get("max_position_embeddings", 0)) or 2**31,
    )


def _mean_tokens(examples: Path) -> int:
    with examples.open("rb") as lines:
        count = sum(1 for line in lines if line.strip())
    # The JSON around the text is about as long as the text of a short example.
    return examples.stat().st_size // max(1, count) // CHARACTERS_PER_TOKEN // 2
