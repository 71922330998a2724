"""`python -m tidemill_trainer.registry.inspection <file> <its path>`: inspects a large file with limits."""

import json
import resource
import sys
from pathlib import Path

from tidemill_core.models.manifest import ArtifactRefused, refuse_what_runs

MEMORY_BYTES = 3 * 1024**3
"""Memory limit, about twice the worst case of the largest allowed JSON file."""
CPU_S = 60


def main() -> None:
    """Print the error in the file as JSON, or null."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    refused: str | None = None
    try:
        refuse_what_runs(Path(sys.argv[1]), sys.argv[2])
    except ArtifactRefused as error:
        refused = error.violations[0].description
    sys.stdout.write(json.dumps(refused))


if __name__ == "__main__":
    main()
