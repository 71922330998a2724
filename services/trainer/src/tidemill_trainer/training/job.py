"""What the process is told: one JSON file, written by the worker."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Paths are absolute; `device` is auto, cpu or cuda; 0 threads leave it to torch."""

    folder: str
    examples: str
    adapter: str
    base: str
    base_name: str
    lora: Mapping[str, Any]
    args: Mapping[str, Any]
    least_examples: int
    checkpoint_steps: int
    device: str = "auto"
    numeric_format: Literal["auto", "bfloat16", "float32"] = "auto"
    threads: int = 0

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are."""
        return Path(self.folder) / "checkpoints"

    def write(self, path: Path) -> None:
        """Write it down."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Job":
        """Return what was written."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))
