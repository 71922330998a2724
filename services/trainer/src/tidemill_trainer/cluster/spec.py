"""What the pods of a training on several machines get: JSON, rendered by the service into a ConfigMap."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tidemill_core.aggregate import ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """One training. It names objects of the store, and has neither secrets nor texts of examples."""

    name: str
    """The folder of its checkpoints and of what it makes in the shared volume."""
    nodes: int
    processes_per_node: int
    base: Mapping[str, ObjectRef]
    """The base's files, by their path."""
    examples: ObjectRef
    """The train split."""
    job: Mapping[str, Any]
    """The fields of learning.job.Job, without paths."""

    @property
    def objects(self) -> Sequence[ObjectRef]:
        """All that it reads of the store."""
        return [self.examples, *self.base.values()]

    def as_json(self) -> str:
        """Return the text of the file."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def read(cls, path: Path) -> "ClusterSpec":
        """Read the file."""
        received = json.loads(path.read_text(encoding="utf-8"))
        base = {name: ObjectRef(**each) for name, each in received["base"].items()}
        return cls(**received | {"base": base, "examples": ObjectRef(**received["examples"])})
