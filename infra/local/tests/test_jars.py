"""No jar runs that is not the pinned one."""

import hashlib
from pathlib import Path

import pytest

from tidemill_local import jars
from tidemill_local.errors import JarRefused
from tidemill_local.places import JARS

CONTENT = b"what Maven Central gave us"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A Maven repository on disk with one jar in it; jgo reads it before any remote repository."""
    place = tmp_path / "repository" / "org" / "example" / "thing" / "1.0"
    place.mkdir(parents=True)
    (place / "thing-1.0.jar").write_bytes(CONTENT)
    return tmp_path / "repository"


def pin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digest: str) -> None:
    pins = tmp_path / "jars.txt"
    pins.write_text(f"# set coordinates sha256 bytes\nkafka org.example:thing:1.0 {digest} {len(CONTENT)}\n")
    monkeypatch.setattr(jars, "PINS", pins)


def test_every_pinned_jar_of_this_checkout_is_the_pinned_one() -> None:
    jars.ensure(JARS)
    wrong = [
        jar.coordinates
        for jar in jars.pinned()
        if hashlib.sha256((JARS / jar.set / jar.file_name).read_bytes()).hexdigest() != jar.sha256
    ]
    assert len(jars.pinned()) > 50
    assert wrong == []


def test_a_jar_with_another_content_is_refused(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, tmp_path, "0" * 64)
    with pytest.raises(JarRefused, match=r"org.example:thing:1.0 has sha256 .* instead of 000"):
        jars.ensure(tmp_path / "jars", local_repositories=[repository])
    assert not jars.is_complete(tmp_path / "jars")


def test_a_jar_that_cannot_be_fetched_is_reported_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, tmp_path, "0" * 64)
    with pytest.raises(JarRefused, match=r"org.example:thing:1.0 could not be fetched .* check the network"):
        jars.ensure(tmp_path / "jars", remote_repositories={})


def test_jars_are_fetched_once(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(monkeypatch, tmp_path, hashlib.sha256(CONTENT).hexdigest())
    said: list[str] = []
    jars.ensure(tmp_path / "jars", said.append, local_repositories=[repository])
    jars.ensure(tmp_path / "jars", said.append, local_repositories=[])
    assert len(said) == 1
    assert Path(jars.classpath(tmp_path / "jars", "kafka")).read_bytes() == CONTENT
