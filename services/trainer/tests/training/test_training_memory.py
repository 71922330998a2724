from pathlib import Path

import pytest

from tidemill_trainer.training.training_memory import available_bytes, total_bytes

MIB = 1024**2


def machine(folder: Path, *, available_kb: int, groups: str) -> dict[str, Path]:
    (folder / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable:  {available_kb} kB\n", encoding="ascii")
    (folder / "cgroup").write_text(groups, encoding="ascii")
    return {"meminfo": folder / "meminfo", "cgroups": folder / "fs", "own_cgroup": folder / "cgroup"}


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n", encoding="ascii")


def test_without_a_limit_it_is_what_the_kernel_could_give(tmp_path: Path) -> None:
    group(tmp_path / "fs" / "app", memory__max="max", memory__current=5, memory__stat="inactive_file 1")

    assert available_bytes(**machine(tmp_path, available_kb=2048, groups="0::/app\n")) == 2 * MIB


@pytest.mark.parametrize("limited", ["app", "app/trainer"])
def test_a_limit_of_any_group_above_counts_and_idle_page_cache_is_free(tmp_path: Path, limited: str) -> None:
    (tmp_path / "fs" / "app" / "trainer").mkdir(parents=True)
    stat = f"anon 1\ninactive_file {MIB}"
    group(tmp_path / "fs" / limited, memory__max=8 * MIB, memory__current=6 * MIB, memory__stat=stat)

    assert available_bytes(**machine(tmp_path, available_kb=99999, groups="0::/app/trainer\n")) == 3 * MIB


def test_the_first_version_of_control_groups_has_other_names(tmp_path: Path) -> None:
    files = {
        "memory__limit_in_bytes": 4 * MIB,
        "memory__usage_in_bytes": 5 * MIB,
        "memory__stat": "total_inactive_file 0",
    }
    group(tmp_path / "fs" / "memory", **files)
    groups = "7:cpu:/x\n4:memory:/docker/unseen\n"

    assert available_bytes(**machine(tmp_path, available_kb=99999, groups=groups)) == 0


def test_this_machine_has_some() -> None:
    assert available_bytes() > MIB


def test_what_there_is_in_all_is_the_least_limit_however_much_is_used(tmp_path: Path) -> None:
    stat = f"anon 1\ninactive_file {MIB}"
    group(tmp_path / "fs" / "app", memory__max=8 * MIB, memory__current=6 * MIB, memory__stat=stat)
    (tmp_path / "fs" / "app" / "trainer").mkdir()

    of_machine, limited = (
        machine(tmp_path, available_kb=1, groups=groups) | {"cgroups": tmp_path / "fs"}
        for groups in ("0::/other\n", "0::/app/trainer\n")
    )

    assert total_bytes(**limited) == 99 * 1024
    (tmp_path / "meminfo").write_text("MemTotal: 99999999 kB\n", encoding="ascii")
    assert total_bytes(**limited) == 8 * MIB
    assert total_bytes(**of_machine | {"own_cgroup": tmp_path / "none"}) == 99999999 * 1024
