"""A project with data in every service is deleted: nothing of it is left. `make verify` kills all services meanwhile.

The last tests of this folder, by their name: the services of the stack may start again.
"""

import hashlib
import os
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from tests.system.filling import fill
from tests.system.places import CLOCKS_S, Places, hits
from tests.system.running import Platform, wait_until
from tidemill.feedback.v1 import feedback_service_pb2 as feedback
from tidemill.inference.v1 import inference_service_pb2 as inferences
from tidemill.monitor.v1.erasure_pb2 import Erasure
from tidemill_client.connection import SERVICES, Connection
from tidemill_client.erasures import Erasures
from tidemill_core.errors import PreconditionFailed, TidemillError
from tidemill_local.places import StackFolder
from tidemill_local.supervision import Supervisor
from tidemill_testkit.stack import unique_name

KILLS = int(os.environ.get("TIDEMILL_KILLS", "0"))
"""How often all services are killed: by `make verify` as soon as there is an erasure, and when one has reported, as
some are done then and others in the middle. Evaluator, ingest, trainer and monitor are killed so one by one in their
`tests/process`; feedback, inference and rag only here.
"""
STAYS = {
    **dict.fromkeys((f"{name}.erasures" for name in SERVICES), "the service's record of the erasure"),
    **dict.fromkeys((f"{name}.erasure_leases" for name in SERVICES), "removed a day later"),
    **dict.fromkeys((f"{name}.audit" for name in SERVICES), "calls on their way to the chain"),
    "monitor.erasure_requests": "monitor's record of the erasure",
    "monitor.audit_records": "the audit chain",
    "monitor.audit_heads": "the end of the chain",
    "monitor.projects": "the id is never given again",
    "monitor.revocations": "of the project's credentials",
    "tidemill-monitor-audit": "anchors of the chain",
    "tidemill-monitor-certificates": "the certificate",
}
"""Collections and buckets that may name a deleted project, and why."""


def kill_all(platform: Platform) -> None:
    """Kill every service as a power cut would; the supervisor starts it again."""
    for state in Supervisor(StackFolder(platform.folder)).states():
        if state.name in SERVICES and state.pid:
            os.kill(state.pid, signal.SIGKILL)


def left(platform: Platform, *texts: str, since: float) -> dict[str, set[str]]:
    """Return where the texts stand, which are no older: in collections, buckets, and the folders of services."""
    places = Places(platform.folder, since)
    services = tuple(f"data/{name}/" for name in SERVICES)
    files = ((name, content) for name, content in places.files() if name.startswith(services))
    found = [hits(places.databases(), *texts), hits(places.objects(), *texts), hits(files, *texts)]
    return {text: {place for each in found for place in each[text]} for text in texts}


def run(platform: Platform, *arguments: str) -> Any:  # noqa: ANN401 - whatever JSON it prints
    done = platform.tidemill(*arguments, "--json")
    assert done.code == 0, done.output + done.errors
    return done.data


@pytest.mark.timeout(900)
async def test_of_a_deleted_project_nothing_is_left_but_its_certificate(platform: Platform) -> None:
    since, word = time.time() - CLOCKS_S, unique_name("wombat")
    given = Platform(platform.folder, platform.addresses, unique_name("gone"))
    await fill(given, word)
    before = left(given, given.project, word, since=since)
    assert {name for name in SERVICES if any(place.startswith(f"{name}.") for place in before[given.project])} == set(
        SERVICES
    )
    assert {"ingest.documents", "inference.inferences", "feedback.feedback"} <= before[word]

    run(given, "projects", "delete", given.project, "--yes")
    async with Connection(given.project, given.addresses) as connection:
        erasures = Erasures(connection)

        async def reached(condition: Callable[[Erasure], bool]) -> Erasure | None:
            try:
                found = [each async for each in erasures.all() if condition(each)]
            except TidemillError:
                return None  # monitor is being started again
            return found[0] if found else None

        await wait_until(lambda: reached(lambda _: True), "the erasure")
        if KILLS > 1:
            kill_all(given)
        await wait_until(lambda: reached(lambda erasure: bool(erasure.reports)), "a report")
        if KILLS:
            kill_all(given)
        erasure = await wait_until(lambda: reached(lambda erasure: bool(erasure.certificate_sha256)), "the certificate")
        certificate = await erasures.certificate(erasure.id)

    assert hashlib.sha256(certificate).hexdigest() == erasure.certificate_sha256
    assert {report.service for report in erasure.reports} == set(SERVICES)
    assert all(name in certificate.decode() for name in (given.project, *SERVICES))
    after = left(given, given.project, word, since=since)
    assert (after[word], after[given.project] - STAYS.keys()) == (set(), set())


async def test_nothing_is_erased_that_is_under_a_legal_hold(platform: Platform) -> None:
    given = Platform(platform.folder, platform.addresses, unique_name("held"))
    run(given, "projects", "create", given.project)
    run(given, "holds", "create", "case-1", "--reason", "case 1", "--end-user", "u-17")
    async with Connection(given.project, given.addresses) as connection:

        async def of_inference(user: str) -> None:
            await connection.inferences.EraseEndUser(inferences.EraseEndUserRequest(end_user=user))

        async def of_feedback(user: str) -> None:
            await connection.feedback.EraseEndUser(feedback.EraseEndUserRequest(end_user=user))

        for erase in (of_inference, of_feedback):
            await wait_until(partial(refused, erase, "u-17"), "the hold to be known")
            assert not await refused(erase, "u-18")
    deletion = given.tidemill("projects", "delete", given.project, "--yes", "--json")
    assert "LEGAL_HOLD" in deletion.output + deletion.errors

    run(given, "holds", "release", "case-1")
    run(given, "projects", "delete", given.project, "--yes")


async def refused(erase: Callable[[str], Awaitable[None]], user: str) -> bool:
    try:
        await erase(user)
    except PreconditionFailed as error:
        return error.reason == "LEGAL_HOLD"
    return False
