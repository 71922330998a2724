"""The README of a service has every setting that the service adds to the kit's."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from tidemill_kit.runtime.settings import ServiceSettings

ROOT = Path(__file__).resolve().parents[2]
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/README.md"))


def settings_of(service: str) -> type[ServiceSettings]:
    found: type[ServiceSettings] = getattr(
        import_module(f"tidemill_{service}.settings"), f"{service.capitalize()}Settings"
    )
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_settings_that_were_renamed_are_refused_by_their_old_names_as_the_guide_lists_them(service: str) -> None:
    settings, prefix = settings_of(service), f"{service}_".upper()
    guide = (ROOT / "docs" / "guides" / "operating.md").read_text(encoding="utf-8")
    listed = re.findall(rf"^\|.*\| `{prefix}(\w+)` \| `{prefix}(\w+)` \|$", guide, re.MULTILINE)

    assert {earlier.lower(): now.lower() for earlier, now in listed} == dict(settings.renamed)
    assert settings.renamed
    assert not settings.renamed.keys() & settings.model_fields.keys()
    assert set(settings.renamed.values()) <= settings.model_fields.keys()


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_is_in_the_readme(service: str) -> None:
    settings = settings_of(service)
    readme = (ROOT / "services" / service / "README.md").read_text(encoding="utf-8")
    own = settings.model_fields.keys() - ServiceSettings.model_fields.keys()

    documented = set(re.findall(r"[A-Z][A-Z0-9_]+", readme))
    assert [name for name in sorted(own) if not documented & {name.upper(), f"{service}_{name}".upper()}] == []
