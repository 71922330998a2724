from pathlib import Path

import pytest

from tidemill_local.places import StackFolder
from tidemill_local.programs import PORT_NAMES, STORE_MEMORY, Choices, servers


@pytest.mark.parametrize("given", [{}, {"GOMEMLIMIT": "1GiB", "GOGC": "100"}])
def test_the_object_store_takes_the_memory_that_the_environment_gives_it(
    given: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in STORE_MEMORY:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    ports = {name: 20_000 + number for number, name in enumerate(PORT_NAMES)}
    choices = Choices(ports=ports, cluster="c", access_key="a", secret_key="s")  # noqa: S106 - of no store

    (store,) = (each for each in servers(StackFolder(tmp_path), choices, tmp_path) if each.name == "s3")

    assert {name: store.environment[name] for name in STORE_MEMORY} == {**STORE_MEMORY, **given}
