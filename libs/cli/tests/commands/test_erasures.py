import asyncio
from pathlib import Path

import pytest

from libs.cli.tests.commands.conftest import Terminal, check_reports
from libs.cli.tests.commands.erasure_answers import CERTIFICATE, DIGEST
from libs.cli.tests.loop.running import Running
from tidemill.monitor.v1 import erasure_service_pb2 as pb
from tidemill_client import Tidemill
from tidemill_client.erasures import CertificateDamaged
from tidemill_core.errors import InvalidInput
from tidemill_testkit.access import admin_token


@pytest.mark.parametrize(
    ("command", "reported"),
    [
        ("erasures request --end-user u-17", ["er-3", "u-17"]),
        ("erasures request --document doc-7", ["er-3", "doc-7"]),
        ("erasures list", ["er-1", "document", "doc-7", "held by case-14", "user:ada", "er-2", "completed"]),
        ("erasures show er-1", ["held by case-14", "rag, trainer", "by user:ada"]),
        ("erasures show er-2", ["completed", "feedback", "reactions", "12", DIGEST, "sha256 abababababab"]),
        ("erasures certificate er-2", [CERTIFICATE.decode()]),
        ("holds create case-14 --reason 14/2026", ["case-14", "the project", "active", "user:ada"]),
        ("holds create case-9 --reason 9/2026 --end-user u-17", ["end user u-17"]),
        ("holds release case-14", ["released", "user:bob"]),
        ("holds list", ["case-14", "the project", "case-9", "end user u-17", "user:bob"]),
        ("holds list --active", ["case-14"]),
        ("retention set answers --days 30", ["answers", "30 days"]),
        ("retention set evaluation_results --days 0", ["evaluation results", "as the service is set"]),
        ("retention list", ["answers", "30 days", "feedback", "as the service is set"]),
    ],
)
async def test_a_command_reports_people_and_programs(terminal: Terminal, command: str, reported: list[str]) -> None:
    await check_reports(terminal, command, reported)


async def test_only_active_holds_are_listed_on_request(terminal: Terminal) -> None:
    said = await asyncio.to_thread(terminal, "holds", "list", "--active", "--json")
    assert [each["id"] for each in said.data["holds"]] == ["case-14"]


async def test_a_certificate_is_written_byte_by_byte(terminal: Terminal, tmp_path: Path) -> None:
    out, nowhere = tmp_path / "er-2.json", tmp_path / "absent" / "er-2.json"

    written = await asyncio.to_thread(terminal, "erasures", "certificate", "er-2", "--out", str(out))
    failed = await asyncio.to_thread(terminal, "erasures", "certificate", "er-2", "--out", str(nowhere))

    assert written.code == 0
    assert await asyncio.to_thread(out.read_bytes) == CERTIFICATE
    assert failed.code == 1
    assert "cannot be written" in failed.text


async def test_a_kind_that_is_not_kept_is_refused_with_those_that_are(terminal: Terminal) -> None:
    said = await asyncio.to_thread(terminal, "retention", "set", "prompts", "--days", "3")

    assert said.code == 1
    assert "answers, feedback, quarantine" in said.text


async def test_a_client_requests_holds_and_reads(running: Running) -> None:
    async with Tidemill("acme", running.addresses(), credential=admin_token) as client:
        assert (await client.erasures.request(end_user="u-17")).end_user == "u-17"
        assert [each.id async for each in client.erasures.all()] == ["er-1", "er-2"]
        assert (await client.holds.get("case-14")).reason == "14/2026"
        assert [each.id async for each in client.holds.all()] == ["case-14", "case-9"]
        assert [each.days async for each in client.retention.all()] == [30, 0]
        with pytest.raises(InvalidInput, match="one of answers"):
            await client.retention.set("prompts", 3)


async def test_a_certificate_that_is_not_what_its_digest_says_is_refused(running: Running) -> None:
    changed = pb.GetErasureCertificateResponse(certificate=CERTIFICATE + b" ", sha256=DIGEST)
    running.answers["monitor.v1.erasure_service:GetErasureCertificate"] = lambda _: changed

    async with Tidemill("acme", running.addresses(), credential=admin_token) as client:
        with pytest.raises(CertificateDamaged):
            await client.erasures.certificate("er-2")
