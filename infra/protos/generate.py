"""Generates libs/contracts from protos/: messages, grpc.aio stubs and their types.

`python infra/protos/generate.py` writes what changed; `--check` writes nothing and fails when something would change.
"""

import argparse
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2]
PROTOS = ROOT / "protos"
TARGET = ROOT / "libs" / "contracts" / "src"
WELL_KNOWN = Path(next(iter(grpc_tools.__path__))) / "_proto"
PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")


def write_plugins(folder: Path) -> list[str]:
    """Write a launcher per protoc plug-in, run by this interpreter whether or not its bin folder is on PATH."""
    flags = []
    for name in PLUGINS:
        (entry,) = entry_points(group="console_scripts", name=name)
        launcher = folder / name
        launcher.write_text(
            f"#!{sys.executable}\nfrom {entry.module} import {entry.attr}\n{entry.attr}()\n", encoding="utf-8"
        )
        launcher.chmod(0o755)
        flags.append(f"--plugin={name}={launcher}")
    return flags


def generate(target: Path) -> None:
    """Generate everything into an empty folder."""
    sources = sorted(path.relative_to(PROTOS).as_posix() for path in (PROTOS / "tidemill").rglob("*.proto"))
    with tempfile.TemporaryDirectory() as plugins:
        status = protoc.main(
            [
                "protoc",
                f"--proto_path={PROTOS}",
                f"--proto_path={WELL_KNOWN}",
                *write_plugins(Path(plugins)),
                f"--python_out={target}",
                f"--grpc_python_out={target}",
                f"--mypy_out=quiet:{target}",
                f"--mypy_grpc_out=quiet,only_async:{target}",
                *sources,
            ]
        )
    if status != 0:
        sys.exit(f"protoc refused the protos (exit status {status}); its reasons are above.")
    for package in (target / "tidemill").iterdir():
        # `tidemill` is a namespace package, so each of its packages says by itself that it is typed (PEP 561).
        (package / "py.typed").touch()
    for empty in (path for path in target.rglob("*_pb2_grpc.py*") if "_service_pb2_grpc" not in path.name):
        empty.unlink()


def contents(folder: Path) -> dict[str, bytes]:
    """Return the generated files below a folder by their relative path."""
    suffixes = {".py", ".pyi", ".typed"}
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted((folder / "tidemill").rglob("*"))
        if path.suffix in suffixes
    }


def main() -> None:
    """Write the differences, or with `--check` name them and fail."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when the committed code is not current"
    )
    check_only = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        generated, present = contents(Path(folder)), contents(TARGET)
    changed = sorted(name for name in generated.keys() | present.keys() if generated.get(name) != present.get(name))
    if check_only:
        if changed:
            sys.exit("Generated code is not current; run `make protos` and commit: " + ", ".join(changed))
        return
    for name in changed:
        path = TARGET / name
        if name in generated:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(generated[name])
        else:
            path.unlink()
    print(f"{len(generated)} generated files, {len(changed)} changed.")  # noqa: T201 - a command's answer


if __name__ == "__main__":
    main()
