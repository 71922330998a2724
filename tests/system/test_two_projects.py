"""Two projects on one stack: whatever one asks, with credentials of its own, it learns nothing of the other."""

import os
import random
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from google.protobuf.message_factory import GetMessageClass

from tests.system.calls import METHODS, Answer, Calls, absent
from tests.system.filling import add_document
from tests.system.harvest import Harvest
from tests.system.http_routes import HttpCalls, RouteRequest, as_json, requests_of, routes
from tests.system.probes import ADMIN, ROLES, Probe, marks_of, probes, values_of, ways, with_text
from tests.system.running import SOURCE, Platform, objects_of, wait_until
from tests.system.sharing import READING, USING, left_after, names_of, not_shared, read, revoke, share, uses
from tests.system.topics import read_by, source_of, topics_of, written
from tidemill_client.connection import Connection
from tidemill_testkit.stack import unique_name

QUICK = 120
AUDIT = "tidemill.monitor.v1.AuditService/"
"""Lists what the caller did itself, probes before included: of these answers only what they show counts."""
COUNT = int(os.environ.get("TIDEMILL_PROBES", QUICK))
"""Probes, each of two calls; `make verify` sends 5,500."""
WHOLE = COUNT > QUICK
SHARED_COUNT = 0 if WHOLE else 40
"""Probes with names that are shared; 0 is all of them."""
SHORTEST_QUOTED = 20
"""Characters of a value that an error shows at least of one that is longer."""
HTTP_VALUES = 20 if WHOLE else 1
"""Sent in every place of each route."""
MIN_NOT_FOUND = 5
"""Replies of HTTP, at least: else no resource was read."""
TOPICS = 1000 if WHOLE else 10
"""Of the broker, at most."""

pytestmark = pytest.mark.timeout(7200 if WHOLE else 600)  # the first test waits for a turn of the loop


@pytest.fixture(scope="module")
def stranger(platform: Platform) -> Iterator[dict[str, Calls]]:
    """Give the calls of another project, with a credential of each role."""
    other = Platform(platform.folder, platform.addresses, unique_name("stranger"))
    with ExitStack() as open_:
        keys = other.api_keys(*set(ROLES))
        yield {role: open_.enter_context(Calls(other.addresses, token)) for role, (_, token) in keys.items()}


@pytest.fixture(scope="module")
def object_keys(filled: Platform, harvest: Harvest) -> list[str]:
    """Give the names of some of the project's objects."""
    assert harvest.messages
    return [name for name in objects_of(filled) if filled.project in name][:20]


def leaked(answer: Answer, sent: bytes, marks: list[str]) -> list[str]:
    """Return what an answer holds of the other project, and the request did not."""
    said = answer.text.encode() + answer.body
    return [mark for mark in marks if mark.encode() in said and mark.encode() not in sent]


def differ(probe: Probe, foreign: Answer, unknown: Answer) -> bool:
    """Return whether answers to a value of another project differ from those to one that none has."""
    values = (probe.value, absent(probe.value))
    forms = ((value.partition("@")[0], value.lower(), value[:SHORTEST_QUOTED]) for value in values)
    stems = [form for each in forms for form in each]  # as some errors show them
    theirs, ours = foreign.without(*values, *stems), unknown.without(*values, *stems)
    bodies = (foreign.body.replace(values[0].encode(), values[1].encode()), unknown.body)
    compared = probe.reads and not probe.method.startswith(AUDIT)
    return theirs != ours or (compared and bodies[0] != bodies[1])


def test_no_answer_shows_anything_of_another_project(
    filled: Platform, harvest: Harvest, stranger: dict[str, Calls], object_keys: list[str]
) -> None:
    marks, values = marks_of(harvest, filled.project), values_of(harvest, object_keys)
    codes, found = Counter[str](), list[str]()
    for probe in probes(harvest, values, project=filled.project, count=COUNT, seed=COUNT):
        calls = stranger[probe.role]
        named = {name: absent(value) for name, value in probe.metadata.items()}
        foreign, unknown = (
            calls(probe.method, probe.foreign, **probe.metadata),
            calls(probe.method, probe.unknown, **named),
        )
        codes.update([foreign.code, unknown.code])
        where = f"{probe.method} {'.'.join(probe.way)} = {probe.value!r} as {probe.role}"
        if shown := leaked(foreign, probe.foreign, marks) + leaked(unknown, probe.unknown, marks):
            found.append(f"{where}: shows {shown}")
        if differ(probe, foreign, unknown):
            found.append(f"{where}: {foreign} is not {unknown}")

    sys.stdout.write(f"{2 * COUNT} probes with {len(values)} values of {len(marks)} marks: {dict(codes)}\n")
    assert object_keys
    assert len(marks) > 20
    assert codes["NOT_FOUND"] > COUNT / 10
    assert not found, "\n".join(found[:20])


@pytest.fixture(scope="module")
def friend(platform: Platform) -> Iterator[tuple[Platform, Calls]]:
    """Give a project that others share something with, and its admin's calls."""
    other = Platform(platform.folder, platform.addresses, unique_name("friend"))
    with Calls(other.addresses, other.api_key("admin")[1]) as calls:
        yield other, calls


def shared_probes(names: Sequence[str], count: int) -> Iterator[Probe]:
    """Yield requests with a shared name in so many texts of RPCs (0: in each), and their twins."""
    draw = random.Random(0)  # noqa: S311 - to choose examples
    places = [(method, way) for method in METHODS for way in ways(METHODS[method].input_type)]
    for method, way in draw.sample(places, count or len(places)):
        base, name = GetMessageClass(METHODS[method].input_type)(), draw.choice(names)
        if "validate_only" in base.DESCRIPTOR.fields_by_name:
            base.validate_only = True  # type: ignore[attr-defined]
        yield Probe(
            method=method,
            way=way,
            value=name,
            role="admin",
            foreign=with_text(base, way, name),
            unknown=with_text(base, way, absent(name)),
        )


def faults_of(reader: Calls, probe: Probe, marks: list[str], *, opened: Collection[str]) -> list[str]:
    """Return what is wrong with the answers to a probe; of RPCs that are `opened` only what they show counts."""
    foreign, unknown = reader(probe.method, probe.foreign), reader(probe.method, probe.unknown)
    where = f"{probe.method} {'.'.join(probe.way)} = {probe.value!r}"
    found = [f"{where}: shows {shown}" for shown in leaked(foreign, probe.foreign, marks)]
    if probe.method not in opened and differ(probe, foreign, unknown):
        found.append(f"{where}: {foreign} is not {unknown}")
    return found


async def test_a_grant_shows_what_it_names_as_long_as_it_is_given_and_nothing_else(
    filled: Platform, harvest: Harvest, calls: Calls, friend: tuple[Platform, Calls]
) -> None:
    project, (other, reader) = filled.project, friend
    names, marks = list(names_of(project)), marks_of(harvest, project)
    hidden = [text for text in not_shared(harvest) if text not in {ADMIN, project}]
    opened = {*READING, *USING}
    await add_document(filled, "wallaroo")  # another test may have hidden the first one
    grants = share(calls, other.project)

    async def given() -> bool:
        return {answer.code for answer in read(reader, project).values()} == {"OK"}

    await wait_until(given, "the grants to count")
    found = [
        fault
        for probe in shared_probes(names, SHARED_COUNT)
        for fault in faults_of(reader, probe, hidden if probe.method in opened else marks, opened=opened)
    ]
    found += [
        f"{method}: shows {shown}"
        for method, answer in read(reader, project).items()
        for shown in leaked(answer, b"", hidden)
    ]
    async with Connection(other.project, other.addresses) as connection:
        await uses(connection, project)
        revoke(calls, grants)

        async def taken() -> bool:
            return {answer.code for answer in read(reader, project).values()} == {"NOT_FOUND"}

        await wait_until(taken, "the revocations to count")
        found += [
            f"afterwards {fault}"
            for probe in shared_probes(names, SHARED_COUNT)
            for fault in faults_of(reader, probe, marks, opened=())
        ]
        found += await left_after(connection)

    assert len(hidden) > 5
    assert not found, "\n".join(found[:20])


def test_no_route_of_http_shows_anything_of_another_project(
    filled: Platform, harvest: Harvest, stranger: dict[str, Calls], object_keys: list[str]
) -> None:
    marks, values = marks_of(harvest, filled.project), values_of(harvest, object_keys)
    http, found, codes = HttpCalls(filled, stranger["admin"].token), list[str](), Counter[str]()

    def compare(foreign: RouteRequest, unknown: RouteRequest, *values: str, reads: bool = True) -> None:
        theirs, ours = http(foreign), http(unknown)
        sent = f"{foreign.path}{foreign.body}{dict(foreign.headers)}".encode()
        codes.update([theirs.code, ours.code])
        if shown := leaked(theirs, sent, marks):
            found.append(f"{foreign}: shows {shown}")
        bodies = (theirs.body.replace(values[0].encode(), values[1].encode()), ours.body)
        reads &= AUDIT not in foreign.path
        if theirs.without(*values) != ours.without(*values) or (reads and bodies[0] != bodies[1]):
            found.append(f"{foreign}: {theirs} is not {ours}")

    draw = random.Random(COUNT)  # noqa: S311 - to choose examples
    named = [name for name in ("helpdesk", "short", *harvest.texts["inference"], *values) if absent(name) != name]
    for route in routes():
        for value in draw.sample(named, HTTP_VALUES):
            pairs = zip(
                requests_of(route, value, project=filled.project),
                requests_of(route, absent(value), project=absent(filled.project)),
                strict=True,
            )
            for foreign, unknown in pairs:
                compare(foreign, unknown, value, absent(value), filled.project, absent(filled.project))
    for probe in probes(harvest, values, project=filled.project, count=COUNT // 2, seed=COUNT + 1):
        if (theirs := as_json(probe, probe.foreign)) and (ours := as_json(probe, probe.unknown)):
            compare(theirs, ours, probe.value, absent(probe.value), reads=probe.reads)

    sys.stdout.write(f"{codes.total()} requests of HTTP: {dict(codes)}\n")
    assert codes["404"] > MIN_NOT_FOUND
    assert not found, "\n".join(found[:20])


async def test_the_principal_of_a_source_writes_its_own_topic_and_reads_none(filled: Platform) -> None:
    other = Platform(filled.folder, filled.addresses, unique_name("source"))
    await source_of(filled)
    servers, own = await source_of(other)
    topics = await topics_of(filled)
    theirs = [topic for topic in topics if filled.project in topic]
    others = [topic for topic in topics if topic not in {own, *theirs}]
    tried = [own, *theirs, *random.Random(0).sample(others, min(TOPICS, len(others)))]  # noqa: S311 - examples

    assert await written(servers, tried) == [own]
    assert await read_by(servers, tried) == []
    assert len(theirs) == 1


@pytest.mark.skipif(not WHOLE, reason="make verify runs it; the check of signatures has tests of its own")
async def test_what_a_publisher_signs_for_another_project_leaves_no_trace_there(
    filled: Platform, friend: tuple[Platform, Calls], tmp_path: Path
) -> None:
    other, key, account = friend[0], f"kb/{friend[0].project}", unique_name("cms")
    other.tidemill("service-accounts", "create", account, "--role", "contributor")
    made = other.tidemill(
        *("keys", "create", unique_name("cms"), "--service-account", account, "--publisher"),
        *("--event-source", SOURCE, "--out", str(tmp_path / "cms.json")),
    )
    assert made.code == 0, made.output + made.errors
    document = {"subject": key, "data": {"media_type": "text/plain", "text": "Forged."}}
    filled.publish(document, key=str(tmp_path / "cms.json"))

    async def letters() -> list[str]:
        listed = filled.tidemill("dead-letters", "list", "tidemill.ingest.submissions.dead.v1", "--json").data
        return [each["reason"] for each in listed["dead_letters"] if each["attributes"]["subject"] == key]

    assert await wait_until(letters, "the dead letter") == ["SIGNATURE_INVALID"]
    assert filled.tidemill("documents", "explain", key).code == 1
