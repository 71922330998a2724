"""A deleted project keeps no passage, also of what was created while its tokens were still accepted."""

from datetime import timedelta

import pytest
from google.protobuf.json_format import MessageToJson

from services.rag.tests.fakes import ADA, Rag, spec, write
from tidemill.monitor.v1 import access_events_pb2
from tidemill_core.application import Caller, PageRequest
from tidemill_kit.events.cloudevents import CloudEvent, to_headers
from tidemill_kit.events.engine import Engine
from tidemill_kit.events.records import OutgoingRecord
from tidemill_rag.collections.domain import IndexRef
from tidemill_rag.collections.erase_project import REFUSED_WITHIN, EraseProject
from tidemill_rag.collections.events import access

BOB = Caller(project="globex", subject="user:bob")


class Pauses:
    """Lets time pass instead of waiting, and creates a collection meanwhile where a test needs one."""

    def __init__(self, rag: Rag, *, late: str = "") -> None:
        self._rag = rag
        self._late = late
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self._rag.clock.advance(timedelta(seconds=seconds))
        if self._late:
            await self._rag.crud.create(ADA, spec(self._late), write("late"))


def erase(rag: Rag, pauses: Pauses) -> EraseProject:
    return EraseProject(collections=rag.collections, clock=rag.clock, enqueue=rag.enqueued.append, pause=pauses)


async def names(rag: Rag, project: str) -> list[str]:
    return [each.id for each in (await rag.collections.list(project, page=PageRequest())).items]


async def test_a_deleted_project_loses_its_collections_and_all_that_is_stored_of_them() -> None:
    rag = Rag()
    rag.ingest.put("walk", "os.walk walks a directory tree")
    await rag.handbook()
    await rag.crud.create(BOB, spec("handbook"), write("bob"))
    assert rag.ledger.stored

    rag.enqueued.clear()
    await erase(rag, Pauses(rag))(ADA, revoke_time=rag.clock.now() - timedelta(hours=1))
    assert rag.enqueued == [IndexRef(project=ADA.project, collection="handbook", number=1)]
    rag.clock.advance(timedelta(hours=1))
    await rag.reconcile(IndexRef(project=ADA.project, collection="handbook", number=1), epoch=9)

    assert await names(rag, ADA.project) == []
    assert await names(rag, "globex") == ["handbook"]
    assert {ref.project for ref, _ in rag.ledger.stored} <= {"globex"}
    assert f"{ADA.project}/handbook/1" not in rag.vectors.points


async def test_a_collection_created_while_tokens_were_still_accepted_is_deleted_too() -> None:
    rag = Rag()
    pauses = Pauses(rag, late="late")

    await erase(rag, pauses)(ADA, revoke_time=rag.clock.now() + REFUSED_WITHIN)

    assert pauses.seconds == [10]
    assert await names(rag, ADA.project) == []
    assert IndexRef(project=ADA.project, collection="late", number=1) in rag.enqueued


async def test_a_wrong_clock_delays_the_other_events_by_seconds_only() -> None:
    rag = Rag()
    pauses = Pauses(rag)

    await erase(rag, pauses)(ADA, revoke_time=rag.clock.now() + timedelta(days=1))

    assert pauses.seconds == [15]


class Letters:
    """Keeps what would be dead letters."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []

    async def publish(self, record: OutgoingRecord) -> None:
        self.records.append(record)


class Revoked:
    """A record as monitor publishes it."""

    topic = "tidemill.monitor.access.v1"
    partition = 0
    timestamp = 0
    key: bytes | None = None

    def __init__(self, rag: Rag, kind: str, *, project: str, id: str) -> None:  # noqa: A002 - the contract's name
        body = access_events_pb2.CredentialsRevoked(
            kind=access_events_pb2.CredentialKind.Value(kind), project=project, id=id, seq=4
        )
        body.revoke_time.FromDatetime(rag.clock.now() - timedelta(hours=1))
        data = MessageToJson(body, preserving_proto_field_name=True, always_print_fields_with_no_presence=True).encode()
        event = CloudEvent(
            id=f"{kind}-{id}",
            source="/tidemill/monitor",
            type="tidemill.monitor.access.credentials_revoked.v1",
            subject=project,
            project=project,
            time=rag.clock.now(),
            data=data,
            content_type="application/json",
            seq=4,
            traceparent="",
            extensions={},
        )
        self.offset = 0
        self.value: bytes | None = data
        self.headers = to_headers(event)


@pytest.mark.parametrize(
    ("kind", "revoked", "left"),
    [
        ("CREDENTIAL_KIND_PROJECT", ADA.project, []),
        ("CREDENTIAL_KIND_SUBJECT", "user:ada", ["handbook"]),
        ("CREDENTIAL_KIND_KEY", ADA.project, ["handbook"]),
    ],
)
async def test_only_the_revocation_of_a_project_deletes_anything(kind: str, revoked: str, left: list[str]) -> None:
    rag, letters = Rag(), Letters()
    await rag.handbook()

    engine = Engine(access(erase(rag, Pauses(rag))), dead_letters=letters)
    for _ in range(2):  # also when it comes again
        assert await engine.take([Revoked(rag, kind, project=ADA.project, id=revoked)]).wait(10)

    assert letters.records == []
    assert await names(rag, ADA.project) == left
