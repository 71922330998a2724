from pathlib import Path

import pytest

from tidemill_ingest.settings import IngestSettings
from tidemill_kit.runtime.settings import ServiceSettings, load

GIVEN = {
    "INGEST_ACCESS_ISSUERS": "https://issuer.test",
    "INGEST_GRPC_PORT": "0",
    "INGEST_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "INGEST_MONGO_URI": "mongodb://127.0.0.1:1",
    "INGEST_S3_ENDPOINT": "127.0.0.1:1",
    "INGEST_S3_ACCESS_KEY": "key",
    "INGEST_S3_SECRET_KEY": "secret",
}


def test_lists_are_joined_by_commas_and_limits_reach_the_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {**GIVEN, "INGEST_SUBMISSION_TOPICS": "a, b", "INGEST_MAX_RECORD_BYTES": "7"}.items():
        monkeypatch.setenv(name, text)

    settings = load(IngestSettings)

    assert settings.submission_topics == ("a", "b")
    assert settings.phone_regions == ("US", "GB", "DE", "FR")
    assert settings.limits.record_bytes == 7


def test_the_readme_names_every_setting_of_ingest() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")

    own = set(IngestSettings.model_fields) - set(ServiceSettings.model_fields)
    assert [name for name in sorted(own) if name.upper() not in readme] == []
