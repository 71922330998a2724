from collections.abc import Mapping
from typing import ClassVar

import pytest
from pydantic import ValidationError

from libs.kit.tests.grpc.support import ProbeSettings, settings
from tidemill_kit.runtime.settings import load

GOOD = {
    "ACCESS_ISSUERS": "https://issuer.test",
    "GRPC_PORT": "7001",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092",
    "MONGO_URI": "mongodb://root:hunter2@127.0.0.1",
    "MONGO_DATABASE": "probe",
    "S3_ENDPOINT": "127.0.0.1:9000",
    "S3_ACCESS_KEY": "key",
    "S3_SECRET_KEY": "hunter3",
}


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(f"PROBE_{name}", value)

    loaded = load(ProbeSettings)

    assert (loaded.grpc_port, loaded.host, loaded.service) == (7001, "127.0.0.1", "probe")


def test_all_errors_are_reported_at_once_by_the_names_of_the_variables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**GOOD, "GRPC_PORT": "seventy-thousand", "METRICS_PORT": "70000"}.items():
        monkeypatch.setenv(f"PROBE_{name}", value)
    monkeypatch.delenv("PROBE_MONGO_URI")
    monkeypatch.delenv("PROBE_S3_SECRET_KEY")

    with pytest.raises(SystemExit) as left:
        load(ProbeSettings)

    output = capsys.readouterr().err
    assert left.value.code == 2
    assert "4 setting(s)" in output
    for name in ("PROBE_GRPC_PORT", "PROBE_METRICS_PORT", "PROBE_MONGO_URI", "PROBE_S3_SECRET_KEY"):
        assert f"  {name}: " in output
    assert "seventy-thousand" not in output


def test_a_variable_with_an_earlier_name_is_refused_naming_the_new_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Renaming(ProbeSettings):
        renamed: ClassVar[Mapping[str, str]] = {"rpc_limit": "max_concurrent_rpcs", "grace": "shutdown_grace_s"}

    for name, value in GOOD.items():
        monkeypatch.setenv(f"PROBE_{name}", value)
    assert load(Renaming).grpc_port == 7001
    monkeypatch.setenv("probe_rpc_limit", "5")

    with pytest.raises(SystemExit) as left:
        load(Renaming)

    assert left.value.code == 2
    said = "1 setting(s) cannot be used:\n  PROBE_RPC_LIMIT: is now PROBE_MAX_CONCURRENT_RPCS: rename the variable\n"
    assert capsys.readouterr().err == said
    monkeypatch.delenv("PROBE_GRPC_PORT")
    with pytest.raises(SystemExit):
        load(Renaming)
    assert "2 setting(s)" in capsys.readouterr().err


def test_settings_that_are_printed_show_no_secret() -> None:
    printed = repr(settings(mongo_uri="mongodb://root:hunter2@127.0.0.1", s3_secret_key="hunter3"))  # noqa: S106

    assert "hunter" not in printed


@pytest.mark.parametrize(
    "issuers", ["issuer", "file:/a", "https://a,https://a", "https://a=ftp://b", "=https://a", "https://a=b"]
)
def test_issuers_that_cannot_be_read_are_refused(issuers: str) -> None:
    with pytest.raises(ValidationError):
        settings(access_issuers=issuers)


def test_keys_that_would_stop_to_count_before_they_are_read_again_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"ACCESS_KEYS_HOLD_S is 60: .* which is 300"):
        settings(access_keys_hold_s=60)
    assert settings(access_keys_hold_s=301).access_keys_hold_s == 301


def test_issuers_are_separated_by_commas() -> None:
    named = settings(access_issuers="https://a, https://b=https://b/keys,tidemill=file:/keys").access_issuers
    assert named == ("https://a", "https://b=https://b/keys", "tidemill=file:/keys")
