"""When API keys were last used is reported together, seldom, and with no call waiting for it."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from libs.kit.tests.access.support import Clock
from libs.kit.tests.grpc.support import Lines, Servicer, serving, settings, sources
from tidemill.ingest.v1.source_service_pb2 import GetSourceRequest, GetSourceResponse
from tidemill.ingest.v1.source_service_pb2_grpc import SourceServiceStub
from tidemill.monitor.v1.access_service_pb2 import RecordUseRequest, RecordUseResponse
from tidemill.monitor.v1.access_service_pb2_grpc import add_AccessServiceServicer_to_server
from tidemill_core.errors import DependencyUnavailable, PermissionDenied
from tidemill_core.grpc.client import open_channel
from tidemill_kit.access import key_uses
from tidemill_kit.access.grants import Grants, Shared
from tidemill_kit.access.key_uses import GRANT, KeyUses, Monitor
from tidemill_kit.access.revocations import Revocations
from tidemill_kit.grpc.server import current_caller
from tidemill_testkit.access import TestIssuer, access_of, grant
from tidemill_testkit.polling import eventually

KEY = "service_account:ci"


class Recorder:
    """Implements `Reporting`; can be down, or never answer."""

    def __init__(self) -> None:
        self.reported: list[tuple[str, dict[str, float]]] = []
        self.down = self.hangs = self.closed = False

    async def report(self, project: str, uses: Mapping[str, float], /) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.down:
            message = "monitor does not answer"
            raise DependencyUnavailable(message, dependency="monitor")
        self.reported.append((project, dict(uses)))

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def issuer(tmp_path: Path) -> TestIssuer:
    return TestIssuer(tmp_path)


async def test_many_uses_of_a_key_are_one_report_of_the_last(issuer: TestIssuer) -> None:
    clock, monitor = Clock(), Recorder()
    uses = KeyUses(monitor, now=clock.now)
    key, other = issuer.claims(subject=KEY, id="a"), issuer.claims("globex", subject=KEY, id="b")
    for claims in (key, key, other, key):
        clock.moved += 1
        uses.record(claims)

    await uses.flush()
    await uses.flush()

    reported = dict(monitor.reported)
    assert len(monitor.reported) == 2
    assert {project: [*used] for project, used in reported.items()} == {"acme": ["a"], "globex": ["b"]}
    assert reported["acme"]["a"] == pytest.approx(clock.now(), abs=1)


async def test_logins_and_services_are_no_keys(issuer: TestIssuer) -> None:
    monitor = Recorder()
    uses = KeyUses(monitor)

    for subject in ("user:ada", "service:rag"):
        uses.record(issuer.claims(subject=subject))
    await uses.flush()

    assert monitor.reported == []


async def test_uses_wait_while_monitor_is_down_and_that_is_logged_once(issuer: TestIssuer, lines: Lines) -> None:
    clock, monitor = Clock(), Recorder()
    uses, claims = KeyUses(monitor, now=clock.now), issuer.claims(subject=KEY, id="a")
    monitor.down = True
    uses.record(claims)
    for _ in range(3):
        await uses.flush()

    monitor.down = False
    await uses.flush()

    assert [project for project, _ in monitor.reported] == ["acme"]
    assert len(lines.named("key_uses_not_reported")) == 1


async def test_a_bounded_number_is_kept_and_reported_in_bounded_parts(
    issuer: TestIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_uses, "_MAX_KEYS", 5)
    monkeypatch.setattr(key_uses, "_MAX_REPORTED", 2)
    monitor = Recorder()
    uses, claims = KeyUses(monitor), issuer.claims(subject=KEY)

    for number in range(7):
        uses.record(replace(claims, id=str(number)))
    await uses.flush()

    assert [[*used] for _, used in monitor.reported] == [["2", "3"], ["4", "5"], ["6"]]


async def test_what_is_left_is_reported_at_the_end_which_does_not_wait_for_ever(
    issuer: TestIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_uses, "_END_S", 0.05)
    left, stuck = Recorder(), Recorder()
    stuck.hangs = True
    for monitor in (left, stuck):
        uses = KeyUses(monitor)
        await uses.start()
        uses.record(issuer.claims(subject=KEY))
        await uses.stop()

    assert [project for project, _ in left.reported] == ["acme"]
    assert (left.closed, stuck.closed) == (True, True)


async def test_uses_are_reported_again_and_again(issuer: TestIssuer) -> None:
    monitor = Recorder()
    uses = KeyUses(monitor, interval_s=0.001)
    await uses.start()
    for used in ("first", "second"):
        uses.record(issuer.claims(used, subject=KEY))
        await eventually(lambda: used in dict(monitor.reported))  # noqa: B023 - within the turn
    await uses.stop()


async def asked_with(token: str, address: str) -> None:
    async with open_channel(address, credential=lambda: token) as channel:
        await SourceServiceStub(channel).GetSource(GetSourceRequest(id="cms"))


async def test_a_call_with_a_key_is_a_use_and_waits_for_no_report(issuer: TestIssuer, tmp_path: Path) -> None:
    async def get(_request: GetSourceRequest, _context: object) -> GetSourceResponse:
        return GetSourceResponse()

    others, monitor = TestIssuer(tmp_path, issuer="https://idp.example"), Recorder()
    monitor.hangs = True
    access = replace(access_of(issuer, others), uses=KeyUses(monitor))
    used, denied = (
        issuer.token("acme", "viewer", subject=KEY, id="used"),
        issuer.token("acme", subject=KEY, id="denied"),
    )
    foreign = others.token("acme", "viewer", subject=KEY, id="foreign")
    async with serving(sources(GetSource=get), access=access) as running:
        for token in (used, foreign):
            await asked_with(token, running.address)
        with pytest.raises(PermissionDenied):
            await asked_with(denied, running.address)

    monitor.hangs = False
    assert access.uses is not None
    await access.uses.flush()
    assert [(project, {*uses}) for project, uses in monitor.reported] == [("acme", {"used", "denied"})]


async def test_a_service_reports_by_its_own_identity_for_the_project_of_the_key(
    issuer: TestIssuer, tmp_path: Path
) -> None:
    async def record(request: RecordUseRequest, _context: object) -> RecordUseResponse:
        caller = current_caller()
        asked.append((caller.project, caller.via, [each.credential for each in request.uses]))
        return RecordUseResponse()

    asked, file = list[object](), tmp_path / "rag.token"
    file.write_text(issuer.service_token("rag"))
    registration = (add_AccessServiceServicer_to_server, Servicer(RecordUse=record))
    async with serving(registration, access=access_of(issuer)) as running:
        configured = settings(access_monitor_address=running.address, access_credential_file=file)
        uses = KeyUses(Monitor(configured))
        for project in ("acme", "globex"):
            uses.record(issuer.claims(project, subject=KEY, id=f"of-{project}"))
        await uses.stop()

    assert asked == [("acme", "rag", ["of-acme"]), ("globex", "rag", ["of-globex"])]


async def test_uses_of_grants_are_reported_to_their_owners() -> None:
    recorder = Recorder()
    uses = KeyUses(recorder)
    grants = Grants(Revocations(), used=uses.record_grant)
    grants.apply(grant("acme/base", Shared.MODEL, to="globex"))

    for project, name in (("globex", "acme/base"), ("globex", "base"), ("acme", "acme/base"), ("initech", "acme/base")):
        grants.resolve(project, Shared.MODEL, name)
    await uses.flush()

    assert [(project, list(used)) for project, used in recorder.reported] == [("acme", [f"{GRANT}MODEL-base-globex"])]
