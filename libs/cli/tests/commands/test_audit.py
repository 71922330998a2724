"""audit: lists, exports and verifies what monitor has."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from libs.cli.tests.commands.conftest import Terminal
from libs.cli.tests.loop.running import Running, Server
from tidemill.monitor.v1 import audit_service_pb2 as pb
from tidemill.monitor.v1.audit_pb2 import AuditOutcome, AuditRecord
from tidemill_core.audit import GENESIS, Head, canonical, hash_of, header_of, line_of

RECORDS = 30


class Monitor:
    """A chain of each kind, and what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.heads: list[Head] = []
        previous, self.lines = GENESIS, list[str]()
        for seq in range(1, RECORDS + 1):
            text = canonical({"project": "acme", "seq": seq, "subject": "user:ada"})
            own = hash_of(previous, text)
            self.lines.append(line_of(previous, own, text))
            self.heads.append(Head(seq=seq, hash=own))
            previous = own

    def exported(self) -> bytes:
        return "".join(f"{each}\n" for each in (header_of("acme", self.heads[-1]), *self.lines)).encode()

    def answers(self) -> dict[str, Any]:
        service = "monitor.v1.audit_service"
        return {
            f"{service}:{method.format(kind)}": getattr(self, name)(f"{method.format(kind)}Response")
            for kind in ("", "Installation")
            for method, name in (
                ("List{}AuditRecords", "_list"),
                ("Export{}AuditRecords", "_export"),
                ("Get{}AuditHead", "_head"),
            )
        }

    def _list(self, reply: str) -> Any:  # noqa: ANN401 - of either chain
        record = AuditRecord(
            seq=7, subject="user:ada", via="inference", method="tidemill.ingest.v1.SourceService/CreateSource", count=1
        )
        record.outcome = AuditOutcome.AUDIT_OUTCOME_REFUSED
        record.reason = "ROLE_REQUIRED"

        def answer(request: Any) -> Any:  # noqa: ANN401 - of either chain
            self.asked.append(request)
            return getattr(pb, reply)(records=[record], next_page_token="more")  # noqa: S106 - of a page

        return answer

    def _export(self, reply: str) -> Any:  # noqa: ANN401 - of either chain
        async def answer(request: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - of either chain
            self.asked.append(request)
            data = self.exported()
            for begin in range(0, len(data), 1000):
                part = data[begin : begin + 1000]
                yield getattr(pb, reply)(chunk=part, records=RECORDS, total_records=RECORDS)

        return answer

    def _head(self, reply: str) -> Any:  # noqa: ANN401 - of either chain
        def answer(request: Any) -> Any:  # noqa: ANN401 - of either chain
            self.asked.append(request)
            end, at = self.heads[-1], self.heads[9]
            anchor = pb.AuditAnchor(seq=at.seq, hash=at.hash)
            more = "" if request.page_token else "before"
            return getattr(pb, reply)(seq=end.seq, hash=end.hash, anchors=[anchor], next_page_token=more)

        return answer


@pytest.fixture
def monitor() -> Monitor:
    return Monitor()


@pytest.fixture
async def running(server: Server, monitor: Monitor) -> AsyncIterator[Running]:
    services = Running()
    services.answers.update(monitor.answers())
    with capture_logs():  # as the fixture of all commands has it
        services.start(server)
        yield services
        services.stop()


async def typed(terminal: Terminal, *arguments: object) -> Any:  # noqa: ANN401 - what a command printed
    return await asyncio.to_thread(terminal, *map(str, arguments))


async def test_records_are_listed_by_what_they_are_about(terminal: Terminal, monitor: Monitor) -> None:
    chosen = ["--subject", "user:ada", "--method", "m", "--resource", "r", "--since", "2026-11-01"]
    people = await typed(terminal, "audit", "list", *chosen)
    programs = await typed(terminal, "audit", "list", "--json", "--installation")

    assert (people.code, programs.code) == (0, 0), people.text
    row = ("user:ada (by inference)", "ingest.v1.SourceService/CreateSource", "refused", "ROLE_REQUIRED")
    assert all(part in people.text for part in (*row, "--page-token more"))
    assert programs.data["records"][0]["seq"] == "7"
    first, second = monitor.asked
    assert (first.filter.subject, first.filter.method, first.filter.resource) == ("user:ada", "m", "r")
    assert first.filter.HasField("start_time")
    assert not first.filter.HasField("end_time")
    assert isinstance(second, pb.ListInstallationAuditRecordsRequest)


async def test_an_export_is_verified_offline_with_its_anchors(
    terminal: Terminal, monitor: Monitor, tmp_path: Path
) -> None:
    file, anchors = tmp_path / "audit.jsonl", tmp_path / "anchors.json"
    exported = await typed(terminal, "audit", "export", file, "--json")
    head = await typed(terminal, "audit", "head", "--out", anchors, "--json")
    asked = len(monitor.asked)
    verified = await typed(terminal, "audit", "verify", file, "--anchors", anchors, "--json")
    people = await typed(terminal, "audit", "verify", file)

    assert (exported.data["records"], file.read_bytes()) == (RECORDS, monitor.exported())
    assert (head.data["seq"], head.data["project"]) == (str(RECORDS), "acme")
    assert (verified.code, verified.data["state"], verified.data["records"]) == (0, "good", RECORDS)
    assert verified.data["anchors"] == 2
    assert (people.code, "good records" in people.text) == (0, True)
    assert len(monitor.asked) == asked


async def test_anchors_are_shown_a_page_at_a_time(terminal: Terminal, monitor: Monitor) -> None:
    newest = await typed(terminal, "audit", "head", "--page-size", 5)
    earlier = await typed(terminal, "audit", "head", "--installation", "--page-token", "before")

    assert "--page-token before" in newest.text
    assert (earlier.code, "--page-token" in earlier.text) == (0, False)
    assert [(each.page_size, each.page_token) for each in monitor.asked] == [(5, ""), (1000, "before")]


async def test_a_bad_record_is_named_and_the_exit_code_says_so(
    terminal: Terminal, monitor: Monitor, tmp_path: Path
) -> None:
    file = tmp_path / "audit.jsonl"
    lines = monitor.exported().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:5] + lines[6:]))
    programs = await typed(terminal, "audit", "verify", file, "--json")
    people = await typed(terminal, "audit", "verify", file)

    assert (programs.code, programs.data["state"], programs.data["bad_record"]) == (2, "missing", 5)
    assert programs.data["why"] == "record 6 follows record 4"
    assert (people.code, "record 6 follows record 4" in people.text) == (2, True)


async def test_copies_of_anchors_in_a_folder_show_what_the_file_does_not(
    terminal: Terminal, monitor: Monitor, tmp_path: Path
) -> None:
    file, folder = tmp_path / "audit.jsonl", tmp_path / "anchors" / "acme"
    folder.mkdir(parents=True)
    short = [header_of("acme", monitor.heads[19]), *monitor.lines[:20]]
    file.write_text("".join(f"{each}\n" for each in short), encoding="utf-8")
    for number, head in enumerate(monitor.heads[4::10]):
        anchor = {"project": "acme", "seq": head.seq, "hash": head.hash}
        (folder / f"{number}.json").write_text(json.dumps(anchor), encoding="utf-8")
    (folder / "other.json").write_text(json.dumps({"project": "globex", "seq": 3, "hash": "0" * 64}), encoding="utf-8")

    alone = await typed(terminal, "audit", "verify", file, "--json")
    found = await typed(terminal, "audit", "verify", file, "--anchors", folder.parent, "--json")
    assert (alone.code, found.code) == (0, 2)
    assert (found.data["state"], found.data["bad_record"], found.data["anchors"]) == ("truncated", 21, 3)


async def test_files_that_are_none_are_named(terminal: Terminal, monitor: Monitor, tmp_path: Path) -> None:
    file, other = tmp_path / "audit.jsonl", tmp_path / "other.json"
    file.write_bytes(monitor.exported())
    other.write_text("[]", encoding="utf-8")
    missing = await typed(terminal, "audit", "verify", tmp_path / "none.jsonl", "--json")
    anchors = await typed(terminal, "audit", "verify", file, "--anchors", other, "--json")
    unwritable = await typed(terminal, "audit", "export", tmp_path / "no" / "file", "--json")
    assert [each.code for each in (missing, anchors, unwritable)] == [1, 1, 1]
    assert "none.jsonl cannot be read" in missing.data["error"]["message"]
    assert "other.json has no anchors" in anchors.data["error"]["message"]
    assert "cannot be written" in unwritable.data["error"]["message"]
