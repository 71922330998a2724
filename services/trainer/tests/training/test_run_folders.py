"""How long the files of ended runs stay."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from tidemill_core.application import ResourceKey
from tidemill_trainer.training.run_folders import RunFolders

DAY_S = 86400.0


@pytest.mark.parametrize(
    ("own_days", "spared", "age_days", "stays"),
    [
        (None, False, 6, True),
        (None, False, 8, False),
        (1, False, 2, False),
        (30, False, 29, True),
        (1, True, 2, True),
    ],
)
async def test_a_projects_retention_takes_the_place_of_the_services_and_a_held_project_keeps_all(
    tmp_path: Path,
    own_days: int | None,
    spared: bool,  # noqa: FBT001 - a row of the table
    age_days: int,
    stays: bool,  # noqa: FBT001 - ditto
) -> None:
    folders = RunFolders(
        tmp_path,
        keep_s=7 * DAY_S,
        keep_of=lambda project: timedelta(days=own_days) if own_days and project == "acme" else None,
        spares=lambda project: spared and project == "acme",
    )
    folder = await folders.open(ResourceKey(project="acme", id="r1"))
    folder.checkpoints.mkdir()
    then = time.time() - age_days * DAY_S
    os.utime(folder.path, (then, then))

    await folders.sweep(frozenset)

    assert folder.path.exists() == stays
