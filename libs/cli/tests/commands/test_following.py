"""documents add --watch: what changes in a folder is sent, what is deleted in it only where asked."""

import asyncio
import os
import signal
import unicodedata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from libs.cli.tests.commands.conftest import Terminal
from libs.sdk.tests.fakes import FakeTidemill
from tidemill_cli.following import Followed, FollowFolders, until_signalled
from tidemill_client.connection import Connection
from tidemill_client.documents import Documents
from tidemill_client.files import find_files
from tidemill_core.errors import PermissionDenied
from tidemill_testkit.access import admin_token
from tidemill_testkit.polling import eventually


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, milliseconds in (("_TICK_MS", 50), ("_DEBOUNCE_MS", 100), ("_QUIET_MS", 20)):
        monkeypatch.setattr(f"tidemill_cli.following.{name}", milliseconds)


@pytest.fixture
async def services() -> AsyncIterator[FakeTidemill]:
    fake = FakeTidemill()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def documents(services: FakeTidemill, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Documents]:
    for name, port in services.ports.items():
        monkeypatch.setenv(f"TIDEMILL_{name.upper()}_ADDRESS", f"127.0.0.1:{port}")
    monkeypatch.setenv("TIDEMILL_CREDENTIAL", admin_token())
    async with Connection("acme") as connection:
        yield Documents(connection)


@asynccontextmanager
async def followed(
    documents: Documents, folder: Path, *, delete: bool = False, meanwhile: Callable[[], None] = lambda: None
) -> AsyncIterator[list[tuple[str, str]]]:
    """Follow a folder whose files were sent; `meanwhile` runs before it is followed."""
    said: list[tuple[str, str]] = []

    def report(change: Followed) -> None:
        said.append((change.what, change.key))

    follow = FollowFolders(
        documents=documents, source="manual", folders=[folder], below=folder, delete=delete, report=report
    )
    follow.expect(find_files([folder], recursive=True, below=folder))
    meanwhile()
    stop = asyncio.Event()
    running = asyncio.create_task(follow(stop))
    yield said
    stop.set()
    await asyncio.wait_for(running, 10)


async def test_what_is_new_or_changed_is_sent_and_what_is_hidden_or_unsupported_is_not(
    documents: Documents, services: FakeTidemill, tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_text("a")

    def changed_meanwhile() -> None:
        (tmp_path / "between.md").write_text("between")

    async with followed(documents, tmp_path, meanwhile=changed_meanwhile) as said:
        await eventually(lambda: _has(services, "between.md"))
        (tmp_path / "new" / "deep").mkdir(parents=True)
        for name in ("new/deep/b.md", ".hidden.md", "odd.odt", "a.md"):
            (tmp_path / name).write_text(f"text of {name}")
        await eventually(lambda: _has(services, "new/deep/b.md", "a.md"))
        assert services.ingest.contents["a.md"] == b"text of a.md"
        (tmp_path / "a.md").unlink()
        (tmp_path / "last.md").write_text("last")
        await eventually(lambda: _has(services, "last.md"))

    assert services.ingest.contents.keys() == {"between.md", "new/deep/b.md", "a.md", "last.md"}
    assert ("skipped", str(tmp_path / "odd.odt")) in said
    assert services.ingest.deleted == []


async def test_what_is_deleted_is_deleted_where_asked_a_folder_with_all_that_was_in_it(
    documents: Documents, services: FakeTidemill, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.md", "sub/b.md", "sub/c.md", "stays.md"):
        (tmp_path / name).write_text(name)
    async with followed(documents, tmp_path, delete=True) as said:
        (tmp_path / "first.md").write_text("it is followed")
        await eventually(lambda: _has(services, "first.md"))
        (tmp_path / "a.md").unlink()
        (tmp_path / "sub").rename(tmp_path.parent / f"{tmp_path.name}-moved")
        await eventually(lambda: _deleted(services, 3))

    assert sorted(services.ingest.deleted) == ["a.md", "sub/b.md", "sub/c.md"]
    assert ("deleted", "a.md") in said


async def test_a_file_that_is_renamed_to_another_spelling_of_its_name_keeps_its_document(
    documents: Documents, services: FakeTidemill, tmp_path: Path
) -> None:
    composed, decomposed = (unicodedata.normalize(form, "caf\u00e9.md") for form in ("NFC", "NFD"))
    (tmp_path / decomposed).write_text("open")
    async with followed(documents, tmp_path, delete=True):
        (tmp_path / decomposed).rename(tmp_path / composed)
        (tmp_path / "gone.md").write_text("gone")
        await eventually(lambda: _has(services, "gone.md"))
        (tmp_path / "gone.md").unlink()
        await eventually(lambda: _deleted(services, 1))

    assert services.ingest.deleted == ["gone.md"]


async def test_what_cannot_be_sent_is_sent_once_the_service_is_back(
    documents: Documents, services: FakeTidemill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill_cli.following._RETRY_S", 0.1)
    services.ingest.fails.errors["UploadDocument"] = [PermissionDenied("the key was revoked")]

    async with followed(documents, tmp_path) as said:
        (tmp_path / "a.md").write_text("a")
        await eventually(lambda: _has(services, "a.md"))

    assert [what for what, _ in said if what != "updated"] == ["failed", "created"]


async def test_the_first_signal_stops_in_order() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with until_signalled() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.wait(), 5)

    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("arguments", "said"), [((".", "-r", "--delete"), "add --watch"), (("a.md", "--watch"), "is no folder")]
)
def test_only_folders_are_followed(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        (tmp_path / "a.md").write_text("a")
        answer = Terminal({"TIDEMILL_PROJECT": "acme"}).typed("documents", "add", *arguments)

    assert answer.code == 1
    assert said in answer.text


async def _has(services: FakeTidemill, *keys: str) -> bool:
    return all(key in services.ingest.contents for key in keys)


async def _deleted(services: FakeTidemill, count: int) -> bool:
    return len(services.ingest.deleted) == count
