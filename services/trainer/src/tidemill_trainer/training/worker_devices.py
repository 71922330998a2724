"""The GPUs that trainings of this worker can compute on."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from tidemill_trainer.child_processes import child_environment

DRIVER = Path("/proc/driver/nvidia/gpus")
"""Is there where NVIDIA's driver runs, also in a container that has none of the machine's GPUs."""
_COUNT = ("-c", "import torch; print(torch.cuda.device_count())")
_COUNTED_WITHIN_S = 120.0

_log = structlog.get_logger()


def torch_devices(command: tuple[str, ...] = _COUNT) -> int:
    """Return how many GPUs torch sees in a process such as a training's; none where it cannot say."""
    environment = child_environment(Path(tempfile.gettempdir()))
    try:
        counted = subprocess.run(  # noqa: S603 - our own words
            [sys.executable, *command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_COUNTED_WITHIN_S,
            check=True,
        )
        return int(counted.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        _log.warning("gpus_not_counted", why=type(error).__name__)
        return 0


def visible_devices(
    *,
    variables: Mapping[str, str] | None = None,
    driver: Path = DRIVER,
    count: Callable[[], int] = torch_devices,
) -> tuple[str, ...]:
    """Return the names of CUDA_VISIBLE_DEVICES, else numbers, of as many GPUs as torch sees; none without a driver."""
    if not driver.exists():
        return ()
    there = count()
    named = (os.environ if variables is None else variables).get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(there)) if named is None else map(str.strip, named.split(","))
    return tuple(names)[:there]  # CUDA ends at the first name that it does not know, such as -1
