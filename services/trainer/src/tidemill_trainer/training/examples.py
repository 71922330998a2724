"""From the train part, JSON lines of feedback.v1.Example, to what TRL trains on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tidemill_trainer.training.failures import TrainingStopped

Row = dict[str, list[dict[str, str]]]
"""`prompt` and `completion`, each a list of messages with role and content."""


def read_rows(path: Path) -> list[Row]:
    """Return every example that has a prompt and an answer of text."""
    with path.open(encoding="utf-8") as lines:
        rows = [_row(json.loads(line)) for line in lines if line.strip()]
    return [row for row in rows if row["prompt"] and row["completion"]]


def fitting(rows: Sequence[Row], tokenizer: Any, *, max_length: int) -> list[Row]:  # noqa: ANN401 - of transformers
    """Return the examples that are not cut: of a cut one, the answer would be lost first."""
    return [row for row in rows if _tokens(row, tokenizer) <= max_length]


def refuse_too_few(rows: Sequence[Row], *, of: int, least: int, max_length: int) -> None:
    """Refuse to train on less than is worth it.

    Raises:
        TrainingStopped: DATASET_TOO_SMALL.

    """
    if len(rows) < least:
        message = f"{len(rows)} of {of} examples fit into max_length = {max_length} tokens, {least} are needed"
        raise TrainingStopped(message, reason="DATASET_TOO_SMALL")


def _tokens(row: Row, tokenizer: Any) -> int:  # noqa: ANN401 - of transformers
    return len(tokenizer.apply_chat_template([*row["prompt"], *row["completion"]], return_dict=False))


def _row(example: Mapping[str, Any]) -> Row:
    prompt = [_message(message) for message in example.get("messages", [])]
    completion = [_message(example["output"])] if example.get("output") else []
    return {
        "prompt": [message for message in prompt if message["content"]],
        "completion": [message for message in completion if message["content"]],
    }


def _message(message: Mapping[str, Any]) -> dict[str, str]:
    role = str(message.get("role", "")).removeprefix("ROLE_").lower()
    content = "".join(part.get("text", "") for part in message.get("parts", []))
    return {"role": role, "content": content}
