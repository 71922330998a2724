"""The check of wheels, with a stand-in for uv: the real one asks a registry."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def wheels() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tidemill_wheels", ROOT / "infra" / "locks" / "wheels.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_package_without_a_wheel_is_named_and_nothing_is_built(wheels: ModuleType, tmp_path: Path) -> None:
    uv = tmp_path / "uv.py"
    uv.write_text(
        "import sys; sys.exit(f'no wheel for {sys.argv[1:]}' if 'aarch64-unknown-linux-gnu' in sys.argv else 0)"
    )
    command = (sys.executable, str(uv))

    assert wheels.lacking(wheels.ROOT_LOCK, "x86_64-unknown-linux-gnu", "3.11", uv=command) == ""
    missing = wheels.lacking(wheels.ROOT_LOCK, "aarch64-unknown-linux-gnu", "3.11", uv=command)
    assert missing.startswith("no wheel for")
    assert "'--only-binary', ':all:'" in missing


def test_what_is_built_from_source_is_in_no_lock_of_a_service(wheels: ModuleType) -> None:
    locks = [lock.read_text(encoding="utf-8").splitlines() for lock in ROOT.glob("services/*/requirements.lock")]

    assert locks
    assert not [line for lock in locks for line in lock if line.startswith(tuple(f"{n}==" for n in wheels.FROM_SOURCE))]
