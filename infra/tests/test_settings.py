"""The README of a service has every setting that the service adds to the kit's."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from tidemill_kit.runtime.settings import ServiceSettings

ROOT = Path(__file__).resolve().parents[2]
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/README.md"))


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_is_in_the_readme(service: str) -> None:
    settings: type[ServiceSettings] = getattr(
        import_module(f"tidemill_{service}.settings"), f"{service.capitalize()}Settings"
    )
    readme = (ROOT / "services" / service / "README.md").read_text(encoding="utf-8")
    own = settings.model_fields.keys() - ServiceSettings.model_fields.keys()

    documented = set(re.findall(r"[A-Z][A-Z0-9_]+", readme))
    assert [name for name in sorted(own) if not documented & {name.upper(), f"{service}_{name}".upper()}] == []
