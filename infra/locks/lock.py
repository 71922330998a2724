"""Locks what the repository's packages need from outside: one root lock, one for each service, one to build images.

`python infra/locks/lock.py` writes them with uv: every version and every hash, for every platform, and no address of a
registry. A service's lock holds no version that the root's does not: tests and services run on the same code. vLLM
pins PyTorch and transformers, and has an environment and locks of its own, one for processors and one for CUDA. So
have the harnesses that the command line runs.
`--upgrade` takes newer versions; without it, versions stay as they are.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOT_LOCK = ROOT / "requirements.lock"
FOLDERS = ("libs/*", "infra/local", "services/*", "examples/*/*")
BUILD_LOCK = ROOT / "infra" / "docker" / "build.lock"
BUILD_TOOLS = ("hatchling", "uv==")
"""What an image needs to install a service, and does not keep."""
LOWEST_PYTHON = "3.11"
VLLM = ROOT / "services" / "inference" / "engines" / "vllm"
"""Its lock for each kind of device is `requirements-<kind>.lock`."""
HARNESSES = ROOT / "libs" / "cli"
"""Its locks of harnesses are in its package, `harnesses/<name>.lock`: an installed command line has them too."""
EXCLUDED = ("rfc3987-syntax",)
"""Left out though a tool asks for it: jsonschema imports it wherever it is there, which takes a second and 22 MB."""
OWN = re.compile(r"tidemill(-[a-z]+)?$")
NAME = re.compile(r"[A-Za-z0-9._-]+")
HEADER = "# Written by `make locks` from the pyproject.toml files. Installed by `uv pip sync`.\n"


@dataclass(frozen=True, slots=True)
class Member:
    """One package of this repository."""

    name: str
    folder: Path
    requirements: tuple[str, ...]

    @property
    def lock(self) -> Path:
        """Where the package's own lock is, if it has one."""
        return self.folder / "requirements.lock"


def members() -> dict[str, Member]:
    """Return every package of the repository by name."""
    found = {}
    for file in sorted(file for pattern in FOLDERS for file in ROOT.glob(f"{pattern}/pyproject.toml")):
        project = tomllib.loads(file.read_text("utf-8"))["project"]
        found[project["name"]] = Member(project["name"], file.parent, tuple(project["dependencies"]))
    return found


def from_outside(names: Iterable[str], known: dict[str, Member]) -> Iterator[str]:
    """Yield what packages need from outside, also through packages of this repository."""
    seen, todo = set[str](), list(names)
    while todo:
        if (name := todo.pop()) in seen:
            continue
        seen.add(name)
        for requirement in known[name].requirements:
            match = NAME.match(requirement)
            if match and OWN.match(match[0]):
                todo.append(match[0])
            else:
                yield requirement


def development_tools() -> list[str]:
    """Return the root's development dependencies."""
    return list(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]["dev"])


def compile_lock(  # noqa: PLR0913 - what is locked, and within what
    requirements: Iterable[str],
    lock: Path,
    *,
    constraints: Path | None,
    upgrade: bool,
    overrides: Iterable[str] = (),
    excludes: Iterable[str] = (),
) -> None:
    """Resolve requirements into a lock file; `overrides` are taken whatever others ask for, `excludes` left out."""
    with tempfile.TemporaryDirectory() as folder:
        requested, excluded = Path(folder, "requested.in"), Path(folder, "excluded.txt")
        requested.write_text("\n".join(sorted(set(requirements))), encoding="utf-8")
        excluded.write_text("\n".join([*EXCLUDED, *excludes]), encoding="utf-8")
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
        command += ["--no-annotate", "--no-header", "--python-version", LOWEST_PYTHON, "--output-file", str(lock)]
        command += ["--excludes", str(excluded)]
        command += ["--constraints", str(constraints)] if constraints else []
        if overrides:
            Path(folder, "overrides.txt").write_text("\n".join(overrides), encoding="utf-8")
            command += ["--overrides", str(Path(folder, "overrides.txt"))]
        command += ["--upgrade"] if upgrade else []
        subprocess.run([*command, str(requested)], check=True)  # noqa: S603 - our own command
    lock.write_text(HEADER + lock.read_text("utf-8"), encoding="utf-8")


def services(known: dict[str, Member]) -> list[Member]:
    """Return the packages that are deployed."""
    return [member for member in known.values() if member.folder.parent == ROOT / "services"]


def lock_vllm(*, upgrade: bool) -> None:
    """Write the locks of vLLM's environment."""
    declared = tomllib.loads((VLLM / "pyproject.toml").read_text("utf-8"))
    overrides = declared["tool"]["tidemill"]["overrides"]
    for kind, requirements in declared["project"]["optional-dependencies"].items():
        lock = VLLM / f"requirements-{kind}.lock"
        compile_lock(requirements, lock, constraints=None, upgrade=upgrade, overrides=overrides)
        print(f"{lock.relative_to(ROOT)} written")  # noqa: T201 - a command's answer


def lock_harnesses(*, upgrade: bool) -> None:
    """Write the locks of the environments of harnesses."""
    declared = tomllib.loads((HARNESSES / "pyproject.toml").read_text("utf-8"))["tool"]["tidemill"]["harnesses"]
    for name, asked in declared.items():
        lock = HARNESSES / "src" / "tidemill_cli" / "harnesses" / f"{name}.lock"
        compile_lock(asked["requirements"], lock, constraints=None, upgrade=upgrade, excludes=asked.get("excludes", ()))
        print(f"{lock.relative_to(ROOT)} written")  # noqa: T201 - a command's answer


def main() -> None:
    """Write every lock."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take newer versions")
    upgrade = parser.parse_args().upgrade
    known = members()
    compile_lock([*from_outside(known, known), *development_tools()], ROOT_LOCK, constraints=None, upgrade=upgrade)
    build = [tool for tool in development_tools() if tool.startswith(BUILD_TOOLS)]
    compile_lock(build, BUILD_LOCK, constraints=ROOT_LOCK, upgrade=False)
    for service in services(known):
        # Always resolved anew within the root's versions, so that nothing of an older lock stays.
        service.lock.unlink(missing_ok=True)
        compile_lock(from_outside([service.name], known), service.lock, constraints=ROOT_LOCK, upgrade=False)
        print(f"{service.lock.relative_to(ROOT)} written")  # noqa: T201 - a command's answer
    lock_vllm(upgrade=upgrade)
    lock_harnesses(upgrade=upgrade)
    subprocess.run([sys.executable, str(Path(__file__).with_name("wheels.py"))], check=True)  # noqa: S603 - our own command


if __name__ == "__main__":
    main()
