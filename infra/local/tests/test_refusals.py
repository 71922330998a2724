"""The stack and the setup report in one sentence what they cannot do."""

import platform
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from tidemill_local import LocalStack
from tidemill_local.errors import DiskFull, Unsupported

ROOT = Path(__file__).resolve().parents[3]
Usage = type(shutil.disk_usage("/"))


@pytest.fixture
def why_not() -> Callable[[float], str]:
    return cast("Callable[[float], str]", runpy.run_path(str(ROOT / "infra" / "setup.py"))["why_not"])


def nearly_full(_: object) -> object:
    return Usage(10**12, 10**12 - 10**8, 10**8)


def test_a_full_disk_is_reported_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", nearly_full)
    with pytest.raises(
        DiskFull, match=r"Only 100 MB are free on the disk of .* and the stack needs 1000: free disk space"
    ):
        LocalStack(tmp_path, services=False).up()


def test_another_system_is_reported_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    with pytest.raises(Unsupported, match=r"not on Darwin .* use docker compose instead"):
        LocalStack(tmp_path, services=False).up()


def test_set_up_finds_nothing_against_this_machine(why_not: Callable[[float], str]) -> None:
    assert why_not(0.0) == ""


def test_set_up_refuses_an_old_python(why_not: Callable[[float], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 12))
    assert "Tidemill needs 3.11 or newer" in why_not(0.0)


def test_set_up_refuses_another_machine(why_not: Callable[[float], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert "use docker compose there" in why_not(0.0)


def test_set_up_refuses_a_python_without_venv(why_not: Callable[[float], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    assert "This Python has no venv: install it" in why_not(0.0)


def test_set_up_refuses_a_full_disk(why_not: Callable[[float], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", nearly_full)
    assert "has 0.1 GB free and 6.5 GB are needed: free disk space" in why_not(6.5)
