"""A deleted project's folders go, on the machine of the erasure and on others; nothing else does."""

import asyncio
from pathlib import Path

import pytest

from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_kit.erasure.folders import erase_folder, folders, sweep_folders
from tidemill_kit.erasure.steps import Scope, Target
from tidemill_testkit.polling import eventually

ACME = Target(project="acme", scope=Scope.PROJECT)


def written(root: Path, project: str, *names: str) -> Path:
    for name in names:
        (root / project / name).mkdir(parents=True)
        (root / project / name / "text").write_text("canary", encoding="utf-8")
    return root / project


async def test_a_projects_folders_are_removed_and_counted_and_those_of_others_stay(tmp_path: Path) -> None:
    runs, bases = tmp_path / "runs", tmp_path / "bases"
    ours = [written(runs, "acme", "r1", "r2"), written(bases, "acme", "b1")]
    theirs = [written(runs, "acme-2", "r1"), written(bases, "acm", "b1")]
    step = folders("local files", runs, bases, tmp_path / "none", covers=("folder:data_dir",))

    assert [await step.erase(ACME), await step.erase(ACME)] == [3, 0]
    assert not any(each.exists() for each in ours)
    assert all(each.exists() for each in theirs)
    assert step.covers == ("folder:data_dir",)


@pytest.mark.parametrize("project", ["..", ".", "", "a/../..", "A b"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, project: str) -> None:
    root = tmp_path / "data" / "runs"
    outside = written(tmp_path, "data", "bases")
    root.mkdir()

    with pytest.raises(InvalidInput):
        erase_folder(root, project)

    assert (outside / "bases" / "text").exists()


def test_a_folder_that_cannot_be_removed_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "acme", "r1")
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)

    with pytest.raises(DependencyUnavailable):
        erase_folder(tmp_path, "acme")


async def test_another_process_removes_what_deleted_projects_have_on_its_disk_unless_they_are_held(
    tmp_path: Path,
) -> None:
    gone, held, kept = [written(tmp_path, name, "r1") for name in ("gone", "held", "kept")]
    deleted, spared = {"gone", "held"}, {"held"}
    sweep = asyncio.create_task(
        sweep_folders([tmp_path], deleted=deleted.__contains__, spares=spared.__contains__, every_s=0.01)
    )

    await eventually(lambda: asyncio.to_thread(lambda: not gone.exists()))
    assert held.exists()
    assert kept.exists()
    spared.clear()
    await eventually(lambda: asyncio.to_thread(lambda: not held.exists()))
    assert kept.exists()
    sweep.cancel()
