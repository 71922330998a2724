"""Which numeric format models compute in."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic_settings import SettingsConfigDict
from structlog.testing import capture_logs

from tidemill_kit.models.numeric_format import (
    FOR_ALL,
    ModelSettings,
    computed_format,
    computes_bfloat16,
    log_computing,
)
from tidemill_kit.runtime.settings import load

REQUIRED = ("KAFKA_BOOTSTRAP_SERVERS", "MONGO_URI", "MONGO_DATABASE", "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY")
ZEN4 = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16 avx512_vbmi\n"
ZEN3 = "processor\t: 0\nflags\t\t: fpu avx2 f16c\n"
GRAVITON3 = "processor\t: 0\nFeatures\t: fp asimd sve bf16 i8mm\n"
GRAVITON2 = "processor\t: 0\nFeatures\t: fp asimd crc32\n"


class ProbeSettings(ModelSettings):
    """Of a service that does not exist."""

    model_config = SettingsConfigDict(env_prefix="PROBE_")


@pytest.mark.parametrize(
    ("cpuinfo", "environment", "computes"),
    [
        (ZEN4, {}, True),
        (ZEN3, {}, False),
        (GRAVITON3, {}, True),
        (GRAVITON2, {}, False),
        (ZEN4, {"ATEN_CPU_CAPABILITY": "avx2"}, False),
        (ZEN4, {"ATEN_CPU_CAPABILITY": "avx512"}, True),
        (ZEN4, {"ONEDNN_MAX_CPU_ISA": "AVX2"}, False),
        (ZEN4, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}, False),
        (ZEN4, {"ONEDNN_MAX_CPU_ISA": "avx512_core_bf16"}, True),
        (ZEN4, {"ONEDNN_MAX_CPU_ISA": "ALL"}, True),
        (ZEN4, {"ONEDNN_MAX_CPU_ISA": ""}, True),
        ("", {}, False),
    ],
)
def test_a_processor_computes_in_bfloat16_that_has_the_instructions_and_may_use_them(
    tmp_path: Path, cpuinfo: str, environment: Mapping[str, str], *, computes: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert computes_bfloat16(cpuinfo=tmp_path / "cpuinfo", environment=environment) is computes


def test_a_machine_that_does_not_say_what_it_has_computes_in_float32(tmp_path: Path) -> None:
    assert not computes_bfloat16(cpuinfo=tmp_path / "absent", environment={})


def test_auto_takes_what_the_device_has_and_a_choice_is_taken_as_it_is() -> None:
    assert computed_format("auto", native=True) == "bfloat16"
    assert computed_format("auto", native=False) == "float32"
    assert computed_format("bfloat16", native=False) == "bfloat16"
    assert computed_format("float32", native=True) == "float32"


def test_what_torch_computes_in_is_logged_once() -> None:
    log_computing.cache_clear()
    with capture_logs() as lines:
        for _ in range(2):
            log_computing("float32", "AVX2")

    said = {"event": "torch_computes", "log_level": "info", "numeric_format": "float32", "cpu_capability": "AVX2"}
    assert lines == [said]


@pytest.mark.parametrize(
    ("environment", "chosen"),
    [
        ({}, "auto"),
        ({FOR_ALL: "float32"}, "float32"),
        ({FOR_ALL: "float32", "PROBE_NUMERIC_FORMAT": "bfloat16"}, "bfloat16"),
    ],
)
def test_one_variable_sets_the_format_of_all_services_and_each_has_its_own(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], chosen: str
) -> None:
    _set(monkeypatch, environment)
    assert load(ProbeSettings).numeric_format == chosen


@pytest.mark.parametrize("name", [FOR_ALL, "PROBE_NUMERIC_FORMAT"])
def test_an_unknown_format_is_refused_wherever_it_is_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    _set(monkeypatch, {name: "float16"})
    with pytest.raises(SystemExit):
        load(ProbeSettings)
    output = capsys.readouterr().err
    assert "PROBE_NUMERIC_FORMAT: Input should be 'auto', 'bfloat16' or 'float32'" in output
    assert FOR_ALL in output


def _set(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    for name in (FOR_ALL, "PROBE_NUMERIC_FORMAT"):
        monkeypatch.delenv(name, raising=False)
    for name in REQUIRED:
        monkeypatch.setenv(f"PROBE_{name}", "x")
    monkeypatch.setenv("PROBE_GRPC_PORT", "0")
    monkeypatch.setenv("PROBE_ACCESS_ISSUERS", "https://issuer.example")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
