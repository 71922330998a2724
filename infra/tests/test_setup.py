import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tidemill_local import class_archive, jars
from tidemill_local.kafka import KafkaNode
from tidemill_local.places import JARS

ROOT = Path(__file__).resolve().parents[2]
GB, GIB = 1000**3, 1024**3


@pytest.fixture
def setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tidemill_setup", ROOT / "infra" / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look up their annotations
    spec.loader.exec_module(module)
    return module


def test_a_machine_with_too_little_memory_is_refused_with_both_figures(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "memory_bytes", lambda: 8 * GB)

    refusal = setup.why_not(1.0)

    assert "8.0 GB of memory" in refusal
    assert "12 GB" in refusal


def test_a_machine_with_one_core_is_refused(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.os, "sched_getaffinity", lambda _: {0})

    assert "1 cores" in setup.why_not(1.0)


def test_a_processor_without_avx2_is_refused(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "cpu_flags", lambda: {"sse4_2"})

    assert "no AVX2" in setup.why_not(1.0)


def test_a_machine_sold_with_12_gb_is_taken_though_its_kernel_keeps_some(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "memory_bytes", lambda: int(11.2 * GB))
    monkeypatch.setattr(setup.os, "sched_getaffinity", lambda _: {0, 1})

    assert setup.why_too_small() == ""


def test_a_full_disk_is_refused_with_both_figures(setup: ModuleType) -> None:
    assert "1000000.0 GB are needed" in setup.why_not(1_000_000.0)


@pytest.mark.parametrize(("given", "expected"), [("yes", True), ("no", False)])
def test_the_packages_for_a_gpu_are_chosen_by_a_variable_too(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, given: str, *, expected: bool
) -> None:
    monkeypatch.setenv("TIDEMILL_GPU", given)

    assert setup.has_gpu() is expected


@pytest.fixture
def groups(setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Writes the control groups of a process: what /proc/self/cgroup says, and files below /sys/fs/cgroup."""
    monkeypatch.setattr(setup, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(setup, "OWN_CGROUPS", tmp_path / "self")
    monkeypatch.setattr(setup, "physical_bytes", lambda: 64 * GB)
    monkeypatch.setattr(setup.os, "sched_getaffinity", lambda _: set(range(16)))

    def write(own: str, **files: str) -> None:
        (tmp_path / "self").write_text(own)
        for name, text in files.items():
            file = tmp_path / "cgroup" / name.replace("__", "/").replace("_dot_", ".")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")

    return write


@pytest.mark.parametrize(
    ("own", "files", "refused"),
    [
        ("0::/\n", {"memory_dot_max": str(8 * GIB)}, "8.6 GB"),
        ("0::/\n", {"memory_dot_max": "max", "memory_dot_high": str(8 * GIB)}, "8.6 GB"),
        ("0::/user/work\n", {"user__memory_dot_max": str(6 * GIB), "user__work__memory_dot_max": "max"}, "6.4 GB"),
        ("0::/gone\n", {"memory_dot_max": str(4 * GIB)}, "4.3 GB"),
        ("4:memory:/box\n1:cpu:/box\n", {"memory__box__memory_dot_limit_in_bytes": str(8 * GIB)}, "8.6 GB"),
        ("4:memory:/docker/1\n", {"memory__memory_dot_limit_in_bytes": str(8 * GIB)}, "8.6 GB"),
        ("0::/\n", {"cpu_dot_max": "100000 100000"}, "1 cores"),
        ("0::/\n", {"cpu_dot_max": "150000 100000"}, "1.5 cores"),
        (
            "3:cpu,cpuacct:/\n",
            {"cpu__cpu_dot_cfs_quota_us": "100000", "cpu__cpu_dot_cfs_period_us": "100000"},
            "1 cores",
        ),
    ],
)
def test_a_container_that_is_too_small_is_refused_on_a_large_machine(
    setup: ModuleType, groups: Callable[..., None], own: str, files: dict[str, str], refused: str
) -> None:
    groups(own, **files)

    assert refused in setup.why_too_small()


@pytest.mark.parametrize(
    ("own", "files"),
    [
        ("0::/\n", {"memory_dot_max": str(12 * GB), "cpu_dot_max": "200000 100000"}),
        ("0::/\n", {"memory_dot_max": str(int(11.6 * GIB)), "cpu_dot_max": "max 100000"}),
        ("0::/\n", {"memory_dot_max": str(12 * GIB)}),
        ("4:memory:/\n", {"memory__memory_dot_limit_in_bytes": "9223372036854771712"}),
        ("3:cpu:/\n", {"cpu__cpu_dot_cfs_quota_us": "-1", "cpu__cpu_dot_cfs_period_us": "100000"}),
        ("", {}),
    ],
)
def test_a_container_of_two_cores_and_12_gb_is_accepted(
    setup: ModuleType, groups: Callable[..., None], own: str, files: dict[str, str]
) -> None:
    groups(own, **files)

    assert setup.why_too_small() == ""


def test_what_needs_only_the_packages_is_fetched_at_once_and_what_fails_is_named(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    together, begun = threading.Barrier(2, timeout=30), list[str]()

    def refused() -> None:
        together.wait()
        raise subprocess.CalledProcessError(1, "fetch")

    code = run_of(
        setup,
        monkeypatch,
        [setup.Step("packages", lambda: False, lambda: begun.append("packages"), 0.0, 0.0, 5)],
        [
            setup.Step("jars", lambda: False, refused, 0.0, 0.0, 10),
            setup.Step("models", lambda: False, together.wait, 0.0, 0.0, 15),
        ],
        [setup.Step("more", lambda: False, lambda: begun.append("more"), 0.0, 0.0, 5)],
    )

    printed, errors = capsys.readouterr()
    assert code == 1
    assert "about 25 s" in printed
    assert "models: done" in printed
    assert errors.startswith("jars: that failed")
    assert begun == ["packages"]


def test_what_needs_the_packages_waits_for_them_where_what_runs_beside_it_is_there(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = list[str]()

    code = run_of(
        setup,
        monkeypatch,
        [setup.Step("packages", lambda: False, lambda: begun.append("packages"), 0.0, 0.0, 5)],
        [
            setup.Step("jars", lambda: True, lambda: begun.append("jars"), 0.0, 0.0, 10),
            setup.Step("models", lambda: False, lambda: begun.append("models"), 0.0, 0.0, 15),
        ],
    )

    assert code == 0
    assert begun == ["packages", "models"]
    assert "about 20 s" in capsys.readouterr().out


def test_the_jars_are_current_once_their_classes_are_archived(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(setup, "JARS", tmp_path)
    (tmp_path / jars.STAMP).write_text((JARS / jars.STAMP).read_text())
    (tmp_path / "kafka").mkdir()
    for name in ("one", "two"):
        (tmp_path / "kafka" / f"{name}.jar").write_text(name)
    assert not setup.jars_are_current()

    (tmp_path / class_archive.STAMP).write_text(class_archive.digest(tmp_path))
    assert not setup.jars_are_current()
    KafkaNode.archive(tmp_path).write_text("classes")
    assert setup.jars_are_current()

    os.utime(tmp_path / "kafka" / "one.jar", (1, 1))
    assert not setup.jars_are_current()


def run_of(setup: ModuleType, monkeypatch: pytest.MonkeyPatch, *stages: list[Any]) -> Any:  # noqa: ANN401 - a script
    """Run the set-up with these stages on a machine that will do, and return its exit code."""
    monkeypatch.setattr(setup, "stages", lambda: stages)
    monkeypatch.setattr(setup, "why_not", lambda _: "")
    monkeypatch.setattr(sys, "argv", ["setup.py"])
    return setup.main()
