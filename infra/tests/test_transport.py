"""Each connection of a service is made as its settings say: with TLS and SASL where they name it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BACKEND = ROOT / "libs/kit/src/tidemill_kit/service/backend.py"
APPS = sorted(ROOT.glob("services/*/src/*/app.py"))
BY_HAND = re.compile(r"\b(?:open_channel|Publisher|Consumers)\(|kafka_bootstrap_servers")


@pytest.mark.parametrize("app", APPS, ids=lambda path: path.parts[-4])
def test_a_service_has_its_connections_made_by_the_backend(app: Path) -> None:
    sources = {str(path): path.read_text() for path in app.parent.rglob("*.py")}

    assert "Backend(settings" in sources[str(app)]
    assert [path for path, text in sources.items() if BY_HAND.search(text)] == []


def test_the_backend_makes_them_as_the_settings_say() -> None:
    made = re.findall(r"\b(open_channel|Publisher|Consumers)\((.*?)\)", BACKEND.read_text(), flags=re.DOTALL)
    security = {"open_channel": "tls=self.settings.tls", "Publisher": "settings.kafka", "Consumers": "settings.kafka"}

    assert {name for name, _ in made} == set(security)
    assert [arguments for name, arguments in made if security[name] not in arguments] == []
