"""Whatever a project declares by itself has a maximum."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CREATES = re.compile(r"rpc Create(\w+)\(")
OTHER_BOUNDS = {"Document": "documents are what a project stores: their sizes and uploads are bounded"}


def declared() -> list[tuple[str, str]]:
    """Return every service and resource that has a Create in the contract."""
    protos = ROOT / "protos" / "tidemill"
    found = [(path.parts[-3], name) for path in protos.rglob("*.proto") for name in CREATES.findall(path.read_text())]
    return sorted((service, name) for service, name in found if name not in OTHER_BOUNDS)


@pytest.mark.parametrize(("service", "resource"), [*declared(), ("trainer", "Model"), ("feedback", "PendingInference")])
def test_a_resource_that_callers_create_has_a_quota_of_its_project(service: str, resource: str) -> None:
    plural = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", resource).lower()
    plural += "es" if plural.endswith("ch") else "s"
    package = ROOT / "services" / service / "src" / f"tidemill_{service}"

    wiring = [package / "app.py", *package.glob("stores.py"), *package.glob("*/wiring.py")]
    assert any(f'settings.quota("{plural}"' in file.read_text() for file in wiring)
    assert f"    max_{plural}: int = Field(" in (package / "settings.py").read_text()
    assert f"MAX_{plural}".upper() in (ROOT / "services" / service / "README.md").read_text()
