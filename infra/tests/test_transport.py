"""Each connection of a service is made as its settings say: with TLS and SASL where they name it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KIT_BACKEND = ROOT / "libs/kit/src/tidemill_kit/service/backend.py"
APPS = sorted(ROOT.glob("services/*/src/*/app.py"))


@pytest.mark.parametrize("app", APPS, ids=lambda path: path.parts[-4])
def test_channels_and_clients_of_kafka_are_made_as_the_settings_say(app: Path) -> None:
    sources = {path: path.read_text() for path in app.parent.rglob("*.py")}
    outside = [str(path) for path, text in sources.items() if path != app and "open_channel(" in text]
    channels = re.findall(r"(?<!import )open_channel\((.*?)\)", sources[app], flags=re.DOTALL)

    assert not outside
    assert all("tls=settings.tls" in each for each in channels)
    assert not [str(path) for path, text in sources.items() if "kafka_bootstrap_servers" in text]
    backend = KIT_BACKEND.read_text() if "Backend(settings" in sources[app] else ""
    assert "Publisher(settings.kafka)" in sources[app] + backend
