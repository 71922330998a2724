"""What a service is deployed with is what its tests ran with."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PIN = re.compile(r"(?m)^([a-z0-9-]+)==([^\s;]+)")
SERVICES = sorted(file.parent for file in ROOT.glob("services/*/pyproject.toml"))
PROJECTS = sorted([*ROOT.glob("*/*/pyproject.toml"), *ROOT.glob("examples/*/*/pyproject.toml")])
LOCKS = [
    ROOT / "requirements.lock",
    ROOT / "infra" / "docker" / "build.lock",
    *(service / "requirements.lock" for service in SERVICES),
]


def pins(lock: Path) -> set[tuple[str, str]]:
    return set(PIN.findall(lock.read_text("utf-8")))


def external_names(project: Path) -> set[str]:
    requirements = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    names = {
        re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower()) for requirement in requirements
    }
    return {name for name in names if name.split("-")[0] != "tidemill"}


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_service_is_locked_within_the_roots_versions(service: Path) -> None:
    assert pins(service / "requirements.lock")
    assert pins(service / "requirements.lock") <= pins(ROOT / "requirements.lock")


def test_images_are_built_within_the_roots_versions() -> None:
    assert pins(ROOT / "infra" / "docker" / "build.lock") <= pins(ROOT / "requirements.lock")


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_lock_holds_everything_that_its_service_names(service: Path) -> None:
    assert external_names(service) <= {name for name, _ in pins(service / "requirements.lock")}


@pytest.mark.parametrize("project", PROJECTS, ids=lambda file: file.parent.name)
def test_the_root_lock_holds_what_every_package_names(project: Path) -> None:
    assert external_names(project.parent) <= {name for name, _ in pins(ROOT / "requirements.lock")}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.parent.name)
def test_a_lock_has_hashes_and_no_addresses(lock: Path) -> None:
    text = lock.read_text("utf-8")
    assert "://" not in text
    assert "-e " not in text
    blocks = re.split(PIN, text)[3::3]
    assert all("--hash=sha256:" in block for block in blocks)
