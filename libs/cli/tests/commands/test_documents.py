import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from libs.cli.tests.commands.conftest import Said, Terminal
from libs.sdk.tests.fakes import WITHHELD, FakeTidemill
from tidemill.ingest.v1.label_pb2 import DocumentLabel
from tidemill_testkit.access import admin_token


@pytest.fixture
async def services() -> AsyncIterator[FakeTidemill]:
    fake = FakeTidemill()
    with capture_logs():  # a command's output is caught in this process, where the services would log into it
        await fake.start()
        yield fake
        await fake.stop()


@pytest.fixture
def typed(services: FakeTidemill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.chdir(tmp_path)
    addresses = {f"TIDEMILL_{name.upper()}_ADDRESS": f"127.0.0.1:{port}" for name, port in services.ports.items()}
    return Terminal({**addresses, "TIDEMILL_PROJECT": "acme", "TIDEMILL_CREDENTIAL": admin_token()})


async def test_adding_a_folder_says_what_was_skipped_and_fails_unless_that_is_allowed(
    typed: Terminal, services: FakeTidemill
) -> None:
    for name in ("vpn/README.md", "wifi/README.md", "LICENSE", "handbook.odt", "plan.doc", "old.odt"):
        _write(name, f"text of {name}")

    said = await asyncio.to_thread(typed, "documents", "add", ".", "--recursive")
    again: Said = await asyncio.to_thread(typed, "documents", "add", ".", "-r", "--allow-skipped", "--json")
    table: Said = await asyncio.to_thread(typed, "documents", "add", ".", "-r", "--allow-skipped")

    assert (said.code, again.code) == (1, 0)
    assert "3 accepted, 0 rejected, 3 skipped: 2 .odt, 1 .doc" in said.text
    assert "3 accepted (3 unchanged), 0 rejected" in table.text
    assert services.ingest.contents.keys() == {"vpn/README.md", "wifi/README.md", "LICENSE"}
    assert {each["outcome"] for each in again.data["added"]} == {"unchanged"}
    assert again.data["skipped_by_suffix"] == {".odt": 2, ".doc": 1}
    assert len(again.data["skipped"]) == 3


async def test_what_is_withheld_is_shown_with_its_reason_and_fails(typed: Terminal) -> None:
    _write("short.md", WITHHELD.decode())
    _write("fine.md", "fine")

    said = await asyncio.to_thread(typed, "documents", "add", "short.md", "fine.md")

    assert said.code == 1
    assert "1 accepted, 0 rejected, 1 withheld" in said.text
    assert "min_characters is 40, it has" in said.text


async def test_a_document_is_shown_with_its_labels(typed: Terminal, services: FakeTidemill) -> None:
    _write("a.md", "first")
    await asyncio.to_thread(typed, "documents", "add", "a.md")
    services.ingest.labels["a.md"] = [
        DocumentLabel(queue="quality", field="verdict", category="good", reviewers=["user:ada", "user:bob"]),
        DocumentLabel(queue="quality", field="ok", boolean=True, adjudicator="user:olga", earlier_version=True),
        DocumentLabel(queue="quality", field="score", number=4),
    ]

    said = await asyncio.to_thread(typed, "documents", "show", "a.md", "--source", "manual")
    as_json: Said = await asyncio.to_thread(typed, "documents", "show", "a.md", "--source", "manual", "--json")

    lines = [line.split() for line in said.text.splitlines() if "quality." in line]
    assert [line[:2] for line in lines] == [["quality.verdict", "good"], ["quality.ok", "true"], ["quality.score", "4"]]
    assert "user:ada, user:bob" in said.text
    assert "user:olga (adjudicated)" in said.text
    assert "an earlier version" in said.text
    assert [each["queue"] for each in as_json.data["labels"]] == ["quality"] * 3


async def test_a_new_version_of_what_was_there_is_reported(typed: Terminal) -> None:
    _write("a.md", "first")
    await asyncio.to_thread(typed, "documents", "add", "a.md")
    _write("a.md", "second")

    said = await asyncio.to_thread(typed, "documents", "add", "a.md")

    assert said.code == 0
    assert "updated" in said.text
    assert "a.md" in said.text


def _write(name: str, text: str) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(text)


async def test_pseudonyms_are_revealed_as_they_are_in_the_text_or_without_brackets(terminal: Terminal) -> None:
    typed = ("documents", "reveal", "ada", "EMAIL:k3f9wq7hd2mzxp", "[CARD:k3f9wq7hd2mzxp]", "--source", "cms")

    people = await asyncio.to_thread(terminal, *typed)
    programs: Said = await asyncio.to_thread(terminal, *typed, "--json")

    assert (people.code, programs.code) == (0, 0), people.text
    assert "in version 3" in people.text
    assert "[EMAIL:k3f9wq7hd2mzxp]  ada@cms.example" in people.text
    assert programs.data["unknown"] == ["[CARD:k3f9wq7hd2mzxp]"]
