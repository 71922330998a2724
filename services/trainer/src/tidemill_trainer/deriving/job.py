"""Job file of a deriving process: JSON, written by the worker."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Paths are absolute; without an `adapter` nothing is merged, and what is 0 or "" of the others is not done.

    Weights are pruned to a `sparsity` by the examples of `calibration`, without them by their magnitude.
    """

    made: str
    weights: str
    weights_name: str
    adapter: str = ""
    bits: int = 0
    sparsity: float = 0.0
    dropped_layers: int = 0
    calibration: str = ""
    threads: int = 0
    max_file_bytes: int = 2**63

    def write(self, path: Path) -> None:
        """Write the job file."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Job":
        """Read a job file."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))
