"""Writes the bill of materials of what this checkout runs: Python packages with their licences, and jars.

`make sbom` writes build/sbom.json in CycloneDX (ECMA-424), for scanners such as Dependency-Track or grype.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tidemill_local.jars import Jar, pinned

ROOT = Path(__file__).resolve().parent.parent
TOOL = Path(sys.executable).with_name("cyclonedx-py")
TARGET = ROOT / "build" / "sbom.json"


def jar_components(jars: Iterable[Jar]) -> list[dict[str, Any]]:
    """Return jars as components of a bill of materials, each once."""
    components = {}
    for jar in jars:
        group, name, version = jar.coordinates.split(":")
        url = f"pkg:maven/{group}/{name}@{version}?type=jar"
        components[url] = {
            "type": "library",
            "bom-ref": url,
            "group": group,
            "name": name,
            "version": version,
            "purl": url,
            "hashes": [{"alg": "SHA-256", "content": jar.sha256}],
        }
    return list(components.values())


def main() -> None:
    """Write the file and say what is in it."""
    TARGET.parent.mkdir(exist_ok=True)
    command = [str(TOOL), "environment", "--output-reproducible", "--output-file", str(TARGET), sys.executable]
    subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603 - our own command
    bill = json.loads(TARGET.read_text("utf-8"))
    packages = len(bill["components"])
    jars = jar_components(pinned())
    bill["components"] += jars
    TARGET.write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"{TARGET.relative_to(ROOT)}: {packages} packages, {len(jars)} jars\n")


if __name__ == "__main__":
    main()
