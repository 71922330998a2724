"""Crash-safe checkpoints: a checkpoint is complete when a manifest of its files' sizes has been written."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MARK = "complete.json"
PREFIX = "checkpoint-"


def mark_complete(checkpoint: Path) -> None:
    """Sync a checkpoint's files to disk, then write its manifest."""
    sizes = {}
    for path in sorted(checkpoint.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        sizes[path.name] = path.stat().st_size
    partial = checkpoint / f"{MARK}.partial"
    with partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(sizes))
        file.flush()
        os.fsync(file.fileno())
    partial.rename(checkpoint / MARK)


@contextmanager
def without_cards(trainer: Any) -> Iterator[None]:  # noqa: ANN401 - of TRL
    """Have no checkpoint of a block described: TRL and PEFT compile a template for each description."""
    model = trainer.model
    trainer.create_model_card = model.create_or_update_model_card = _describe_nothing
    try:
        yield
    finally:
        del trainer.create_model_card, model.create_or_update_model_card


def _describe_nothing(*_: object, **__: object) -> None:
    pass


def last_complete(folder: Path) -> Path | None:
    """Return the newest complete checkpoint; remove incomplete ones."""
    found = sorted(folder.glob(f"{PREFIX}*"), key=lambda path: int(path.name.removeprefix(PREFIX)), reverse=True)
    complete = [checkpoint for checkpoint in found if _is_complete(checkpoint)]
    for torn in set(found) - set(complete):
        shutil.rmtree(torn)
    return complete[0] if complete else None


def processes_of(checkpoint: Path) -> int:
    """Return how many processes made a checkpoint, of which each leaves the state of its random numbers."""
    return max(1, len(list(checkpoint.glob("rng_state_*.pth"))))


def _is_complete(checkpoint: Path) -> bool:
    try:
        sizes = json.loads((checkpoint / MARK).read_text(encoding="utf-8"))
        return bool(sizes) and all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False
