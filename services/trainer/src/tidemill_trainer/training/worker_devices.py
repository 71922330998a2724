"""The GPUs that this worker sees."""

import os
from collections.abc import Mapping
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")
"""NVIDIA's driver has a folder here for each GPU of the machine or container."""


def visible_devices(*, variables: Mapping[str, str] | None = None, driver: Path = DRIVER) -> tuple[str, ...]:
    """Return the names of CUDA_VISIBLE_DEVICES, else the numbers of the driver's GPUs; none without a driver."""
    named = (os.environ if variables is None else variables).get("CUDA_VISIBLE_DEVICES")
    try:
        found = len(list(driver.iterdir()))
    except OSError:
        return ()
    if named is None:
        return tuple(map(str, range(found)))
    return tuple(name for each in named.split(",") if (name := each.strip()) and name != "-1")
