import asyncio
import errno
import json
import os
import stat
from pathlib import Path

import pytest

from libs.cli.tests.commands.access_answers import SEARCH, TOKEN, AccessAnswers
from libs.cli.tests.commands.conftest import Terminal, check_reports
from libs.cli.tests.loop.running import Running
from tidemill_client.publishing import Publisher


@pytest.fixture
def access(running: Running) -> AccessAnswers:
    return running.access


@pytest.mark.parametrize(
    ("command", "reported"),
    [
        ("projects list", ["acme", "active", "Acme"]),
        ("projects show acme", ["acme", "active", "Acme"]),
        ("projects create acme --admin user:ada", ["acme"]),
        ("projects update acme --display-name Other", ["Other"]),
        ("projects delete acme --yes", ["deleting"]),
        ("members list", ["user:ada", "admin"]),
        ("members add group:staff -r viewer -r searcher", ["group:staff"]),
        ("members update user:ada -r operator", ["user:ada", "operator"]),
        ("members remove user:ada", ["user:ada"]),
        ("roles list", ["searcher", "reads", SEARCH]),
        ("roles show searcher", ["searcher", SEARCH]),
        (f"roles create searcher --allow {SEARCH}", ["searcher"]),
        (f"roles update searcher --allow {SEARCH}", ["searcher"]),
        ("roles delete searcher", ["searcher"]),
        ("service-accounts list", ["ci", "contributor", "tests"]),
        ("service-accounts show ci", ["ci", "contributor"]),
        ("service-accounts create ci -r viewer -d tests", ["ci", "viewer"]),
        ("service-accounts update ci -r viewer", ["ci", "viewer"]),
        ("service-accounts delete ci", ["ci"]),
        ("keys list -s ci", ["laptop", "ci", "active", "2027-01-15", "2026-09-2"]),
        ("keys show laptop", ["laptop", "active", "2026-09-2"]),
        ("keys revoke laptop", ["laptop", "revoked"]),
        ("keys revoke --token-id 0c9d", ["0c9d", "2027-01-15"]),
        ("keys revoke --subject service:rag", ["service:rag", "2027-01-15"]),
        ("keys delete laptop", ["laptop", "revoked"]),
        ("grants list", ["prompt", "support", "globex", "tone"]),
        ("grants create prompt support --to globex", ["support", "globex", "acme/support"]),
        ("grants revoke prompt support --to globex", ["support", "globex"]),
        ("catalogue", ["prompt", "acme/support", "tone"]),
        ("whoami", ["user:ada", "acme", "admin"]),
    ],
)
async def test_a_command_reports_people_and_programs(terminal: Terminal, command: str, reported: list[str]) -> None:
    await check_reports(terminal, command, reported)


async def test_a_new_key_is_printed_alone_on_standard_output_whole(terminal: Terminal, access: AccessAnswers) -> None:
    people = await asyncio.to_thread(terminal, "keys", "create", "laptop", "-s", "ci", "--scope", SEARCH)
    programs = await asyncio.to_thread(terminal, "keys", "create", "laptop", "-s", "ci", "--json")
    shown = await asyncio.to_thread(terminal, "keys", "show", "laptop")

    assert TOKEN in people.text.splitlines(), "on one line, not wrapped"
    assert programs.data["token"] == TOKEN
    assert TOKEN not in shown.text
    first = access.asked[0].api_key
    assert (list(first.scopes), first.service_account) == ([SEARCH], "ci")
    assert first.expire_time.seconds


async def test_a_new_key_is_written_to_a_file_for_its_owner_and_not_printed(terminal: Terminal, tmp_path: Path) -> None:
    out = tmp_path / "token"
    command = ["keys", "create", "laptop", "-s", "ci", "--out", str(out)]

    written = await asyncio.to_thread(terminal, *command)
    again = await asyncio.to_thread(terminal, *command)

    assert (written.code, again.code) == (0, 1)
    assert TOKEN not in written.text + again.text
    assert "File exists" in again.text
    assert await asyncio.to_thread(out.read_text) == f"{TOKEN}\n"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


async def test_a_file_for_a_key_that_is_not_issued_is_gone_again(
    terminal: Terminal, access: AccessAnswers, tmp_path: Path
) -> None:
    access.token = ""
    out = tmp_path / "token"

    said = await asyncio.to_thread(terminal, "keys", "create", "laptop", "-s", "ci", "--out", str(out))

    assert said.code == 1
    assert "delete it, create another" in said.text
    assert not out.exists()


async def test_a_key_whose_token_cannot_be_written_is_named(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(descriptor: int, content: bytes) -> int:
        if TOKEN.encode() in content:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written(descriptor, content)

    written, out = os.write, tmp_path / "token"
    monkeypatch.setattr(os, "write", write)
    said = await asyncio.to_thread(terminal, "keys", "create", "laptop", "-s", "ci", "--out", str(out))

    assert said.code == 1
    assert "API key laptop was created" in said.text
    assert "No space left" in said.text
    assert "delete it, create another" in said.text
    assert not out.exists()


async def test_a_member_is_changed_by_its_name_on_the_state_that_was_read(
    terminal: Terminal, access: AccessAnswers
) -> None:
    await asyncio.to_thread(terminal, "members", "update", "user:ada", "-r", "viewer")
    absent = await asyncio.to_thread(terminal, "members", "remove", "user:bob")

    changed = next(each for each in access.asked if "member" in each.DESCRIPTOR.fields_by_name)
    assert (changed.member.id, changed.member.etag, list(changed.member.roles)) == ("m-1", "3", ["viewer"])
    assert list(changed.update_mask.paths) == ["roles"]
    assert absent.code == 1
    assert "user:bob is no member of this project" in absent.text


async def test_a_project_is_deleted_only_after_a_yes(terminal: Terminal, access: AccessAnswers) -> None:
    said = await asyncio.to_thread(terminal, "projects", "delete", "acme")

    assert said.code == 1
    assert access.asked == []


@pytest.mark.parametrize("given", [[], ["laptop", "--token-id", "0c9d"], ["--token-id", "0c9d", "--subject", "user:a"]])
async def test_one_thing_is_revoked_at_a_time(terminal: Terminal, access: AccessAnswers, given: list[str]) -> None:
    found = await asyncio.to_thread(terminal, "keys", "revoke", *given)

    assert found.code == 1
    assert "--token-id or --subject" in found.text
    assert access.asked == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["create", "secret", "support", "--to", "globex"], "model, prompt, dataset, collection"),
        (["revoke", "model", "support", "--to", "globex"], "model support is not shared with project globex"),
    ],
)
async def test_what_is_not_shared_or_cannot_be_is_named(terminal: Terminal, given: list[str], said: str) -> None:
    found = await asyncio.to_thread(terminal, "grants", *given)

    assert found.code == 1
    assert said in found.text


async def test_a_publisher_s_key_is_made_here_and_only_its_public_part_is_sent(
    terminal: Terminal, access: AccessAnswers, tmp_path: Path
) -> None:
    out, source = tmp_path / "cms.json", "https://cms.example/kb"
    command = ["keys", "create", "cms", "-s", "ci", "--publisher", "--event-source", source]

    nowhere = await asyncio.to_thread(terminal, *command)
    written = await asyncio.to_thread(terminal, *command, "--out", str(out))

    publisher = await asyncio.to_thread(Publisher.read, out)
    (asked,) = access.asked
    assert (nowhere.code, written.code) == (1, 0)
    assert (asked.api_key.public_key, asked.api_key.event_source) == (publisher.public_key, source)
    assert publisher.certificate == TOKEN
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    private = json.loads(await asyncio.to_thread(out.read_text))["private_key"]
    assert private not in written.text + str(asked)
