import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
GB = 1000**3


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


@pytest.mark.parametrize(("given", "wanted"), [("yes", True), ("no", False)])
def test_the_packages_for_a_gpu_are_chosen_by_a_variable_too(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, given: str, *, wanted: bool
) -> None:
    monkeypatch.setenv("TIDEMILL_GPU", given)

    assert setup.has_gpu() is wanted
