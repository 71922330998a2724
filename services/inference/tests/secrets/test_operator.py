import threading
from pathlib import Path

import pytest

from services.inference.tests.secrets.keeping import Keeping
from tidemill_core.origins import Origin
from tidemill_inference.secrets.domain.errors import SecretMissing
from tidemill_inference.secrets.operator import OperatorSecrets

API = Origin.of("https://api.openai.com/v1")
OF_ACME = {
    "INFERENCE_SECRET_ACME__KEY": "sk-CANARY",
    "INFERENCE_SECRET_ACME__KEY__HOSTS": "https://api.openai.com, https://eu.example:8443",
}


async def key_for(secrets: OperatorSecrets, project: str, name: str, *, origin: Origin) -> str:
    """Return what is sent, as a project without a secret of its own has it."""
    lookup = Keeping()
    lookup.operators = secrets
    lookup.restart("")
    return await lookup.key_for(project, name, address=str(origin))


async def test_a_project_gets_its_secret_for_the_hosts_that_the_operator_named() -> None:
    secrets = OperatorSecrets(OF_ACME, None)

    for origin in (API, Origin.of("https://eu.example:8443/")):
        assert await key_for(secrets, "acme", "KEY", origin=origin) == "sk-CANARY"


@pytest.mark.parametrize(
    "address",
    [
        "http://api.openai.com/v1",
        "https://api.openai.com:8443/v1",
        "https://api.openai.com.evil.example/v1",
        "https://evil.example/api.openai.com",
        "https://eu.example/",
    ],
)
async def test_another_scheme_host_or_port_gets_nothing(address: str) -> None:
    with pytest.raises(SecretMissing):
        await key_for(OperatorSecrets(OF_ACME, None), "acme", "KEY", origin=Origin.of(address))


@pytest.mark.parametrize("project", ["globex", "acme-2", "acm", "", "../acme", "ACME", "acme__key"])
@pytest.mark.parametrize("name", ["KEY", "ACME__KEY", "KEY__HOSTS", "_KEY", "../acme/KEY", "key", ""])
async def test_no_other_project_and_no_other_spelling_gets_it(project: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "KEY").write_text("sk-CANARY")
    (tmp_path / "acme" / "KEY.hosts").write_text("https://api.openai.com")

    with pytest.raises(SecretMissing):
        await key_for(OperatorSecrets(OF_ACME, tmp_path), project, name, origin=API)


async def test_no_variable_is_the_secret_of_two_projects() -> None:
    environment = {"INFERENCE_SECRET_A__B__KEY": "sk-CANARY", "INFERENCE_SECRET_A__B__KEY__HOSTS": "api.openai.com"}

    for project, name in (("a", "B__KEY"), ("a--b", "KEY")):
        with pytest.raises(SecretMissing):
            await key_for(OperatorSecrets(environment, None), project, name, origin=API)


async def test_a_secret_without_a_project_or_without_hosts_is_sent_nowhere() -> None:
    environment = {"INFERENCE_SECRET_KEY": "sk-1", "INFERENCE_SECRET_ACME__KEY": "sk-2"}

    with pytest.raises(SecretMissing):
        await key_for(OperatorSecrets(environment, None), "acme", "KEY", origin=API)


async def test_a_refusal_does_not_say_whether_the_secret_is_there() -> None:
    reported = set()
    for environment in (OF_ACME, {}):
        with pytest.raises(SecretMissing) as refused:
            await key_for(OperatorSecrets(environment, None), "acme", "KEY", origin=Origin.of("https://evil.example"))
        reported.add((refused.value.message, str(refused.value.metadata)))

    assert len(reported) == 1
    assert "CANARY" not in str(reported)


async def test_a_changed_file_counts_at_the_next_call(tmp_path: Path) -> None:
    secrets, folder = OperatorSecrets({}, tmp_path), tmp_path / "my--team"
    folder.mkdir()
    (folder / "KEY.hosts").write_text("# not an address\napi.openai.com\nhttp://inner:8000\n")
    for value in ("sk-1", "sk-2"):
        (folder / "KEY").write_text(f"{value}\n")
        assert await key_for(secrets, "my--team", "KEY", origin=API) == value
    (folder / "KEY").unlink()
    with pytest.raises(SecretMissing):
        await key_for(secrets, "my--team", "KEY", origin=API)


async def test_files_are_read_in_a_thread_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "KEY").write_text("sk-1")
    (tmp_path / "acme" / "KEY.hosts").write_text("api.openai.com")
    read, loop = list[tuple[str, bool]](), threading.get_ident()
    real = Path.read_text

    def recorded(path: Path, encoding: str | None = None) -> str:
        read.append((path.name, threading.get_ident() == loop))
        return real(path, encoding)

    monkeypatch.setattr(Path, "read_text", recorded)
    assert await key_for(OperatorSecrets({}, tmp_path), "acme", "KEY", origin=API) == "sk-1"

    assert read == [("KEY", False), ("KEY.hosts", False)]
