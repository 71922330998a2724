"""Chains on a real database: without gaps, without forks, each event once, and verifiable as exported."""

import asyncio
import json
from datetime import timedelta
from itertools import combinations

import pytest

from services.monitor.tests.audit.harness import InMemoryAnchors, event_of, recorded
from tidemill_core.application import Page, PageRequest
from tidemill_core.audit import GENESIS, Defect, Head, verify
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_core.paging import Place, list_digest, token_after
from tidemill_kit.store.mongo import Database
from tidemill_monitor.audit.anchor_heads import AnchorHeads
from tidemill_monitor.audit.append_record import AppendRecord
from tidemill_monitor.audit.domain import INSTALLATION, RecordFilter
from tidemill_monitor.audit.mongo import MongoChains
from tidemill_monitor.audit.read_records import ReadRecords
from tidemill_testkit.clocks import NOON, FixedClock

FILTERS = ("subject", "method", "resource")


class Chained:
    """The use cases on a database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.chains = self.another()
        self.append = AppendRecord(chains=self.chains)
        self.anchors = InMemoryAnchors()
        self.read = ReadRecords(chains=self.chains, anchors=self.anchors)

    def another(self) -> MongoChains:
        return MongoChains(self.database["audit_records"], self.database["audit_heads"])

    async def calls(self, *numbers: int, project: str = "acme") -> None:
        for number in numbers:
            await self.append.call(event_of(number, project=project), recorded(number, project=project))

    async def export(self, chain: str = "acme") -> list[bytes]:
        return b"".join([each.chunk async for each in self.read.export(chain)]).splitlines(keepends=True)

    async def page(self, *, size: int = 50, token: str = "", **chosen: object) -> tuple[list[str], str]:
        found = await self.read.list("acme", RecordFilter(**chosen), PageRequest(size=size, token=token))  # type: ignore[arg-type]
        return [json.loads(each.text)["id"] for each in found.items], found.next_token


@pytest.fixture
async def chained(database: Database) -> Chained:
    made = Chained(database)
    await made.chains.ensure_indexes()
    return made


async def test_records_are_a_chain_that_its_export_proves(chained: Chained) -> None:
    await chained.calls(*range(1, 12))
    head, _ = await chained.read.head("acme", PageRequest())
    found = verify(await chained.export(), [head])
    assert (found.defect, found.records, found.last) == (None, 11, 11)


async def test_a_chain_without_records_has_an_end_too(chained: Chained) -> None:
    assert await chained.read.head("acme", PageRequest()) == (Head(seq=0, hash=GENESIS), Page(items=[]))
    assert verify(await chained.export()).defect is None


async def test_an_event_that_comes_again_is_one_record(chained: Chained) -> None:
    assert await chained.append.call(event_of(), recorded())
    assert not await chained.append.call(event_of(), recorded())
    await chained.calls(2)
    assert not await AppendRecord(chains=chained.another()).call(event_of(), recorded())
    assert (await chained.chains.head("acme")).seq == 2


async def test_each_project_has_a_chain_and_so_has_the_installation(chained: Chained) -> None:
    await chained.calls(1, 2)
    await chained.calls(1, project="globex")
    await chained.append.call(event_of(project="installation"), recorded(project=""))
    await chained.append.call(event_of(project="installation"), recorded(project="installation"))

    ends = {name: (await chained.chains.head(name)).seq for name in ("acme", "globex", INSTALLATION, "installation")}
    assert ends == {"acme": 2, "globex": 1, INSTALLATION: 1, "installation": 1}
    exported = await chained.export(INSTALLATION)
    assert json.loads(exported[0])["project"] == ""
    assert verify(exported).defect is None


async def test_a_record_that_names_another_project_than_its_event_is_refused(chained: Chained) -> None:
    for project in ("globex", ""):
        with pytest.raises(InvalidInput):
            await chained.append.call(event_of(project="acme"), recorded(project=project))


async def test_two_who_append_at_once_make_one_chain(chained: Chained) -> None:
    ways = [AppendRecord(chains=chained.another()) for _ in range(4)]
    await asyncio.gather(
        *(way.call(event_of(10 * at + number), recorded(number)) for number in range(8) for at, way in enumerate(ways))
    )
    found = verify(await chained.export())
    assert (found.defect, found.records) == (None, 32)


async def test_a_head_that_a_crash_left_behind_is_caught_up_with(chained: Chained) -> None:
    await chained.calls(1, 2, 3)
    first = (await chained.database["audit_records"].find_one({"seq": 1}) or {})["hash"]
    await chained.database["audit_heads"].update_one({"_id": "acme"}, {"$set": {"seq": 1, "hash": first}})

    again = AppendRecord(chains=chained.another())
    assert not await again.call(event_of(3), recorded(3))
    assert (await chained.chains.head("acme")).seq == 3
    assert await again.call(event_of(4), recorded(4))
    assert verify(await chained.export()).records == 4


async def test_a_process_goes_on_where_another_one_has_appended_meanwhile(chained: Chained) -> None:
    other = AppendRecord(chains=chained.another())
    await chained.calls(1, 2)
    assert await other.call(event_of(3), recorded(3))
    assert await other.call(event_of(4), recorded(4))

    assert not await chained.append.call(event_of(3), recorded(3))
    await chained.calls(5, 6)

    found = verify(await chained.export())
    assert (found.defect, found.records) == (None, 6)


async def test_the_end_of_a_chain_is_not_read_for_each_record(
    chained: Chained, monkeypatch: pytest.MonkeyPatch
) -> None:
    await chained.calls(1)

    async def never(_: str) -> Head:
        pytest.fail("it was read")

    monkeypatch.setattr(chained.chains, "head", never)
    await chained.calls(2, 3)
    monkeypatch.undo()

    assert (await chained.chains.head("acme")).seq == 3


async def test_what_is_changed_in_the_database_shows_in_the_export(chained: Chained) -> None:
    await chained.calls(1, 2, 3)
    records = chained.database["audit_records"]
    document = await records.find_one({"seq": 2}) or {}
    changed = document["text"].replace("user:ada", "user:eve")
    await records.update_one({"seq": 2}, {"$set": {"text": changed}})
    found = verify(await chained.export())
    assert (found.defect, found.seq) == (Defect.EDITED, 2)
    await records.delete_one({"seq": 2})
    found = verify(await chained.export())
    assert (found.defect, found.seq) == (Defect.MISSING, 2)


async def test_records_are_listed_the_newest_first_by_page(chained: Chained) -> None:
    await chained.calls(1, 3, 2)
    first, token = await chained.page(size=2)
    rest, end = await chained.page(size=2, token=token)
    assert (first, rest, end) == (["call-3", "call-2"], ["call-1"], "")
    with pytest.raises(InvalidInput, match="page_token"):
        await chained.page(token=token, subject="user:eve")


@pytest.mark.parametrize("seq", ["x", "9" * 19, "9" * 5000])
async def test_a_token_that_leads_on_from_no_record_is_refused(chained: Chained, seq: str) -> None:
    token = token_after(Place(NOON, seq), digest=list_digest("acme", {}, show_deleted=False))

    with pytest.raises(InvalidInput, match="page_token"):
        await chained.page(token=token)


async def test_records_are_chosen_by_subject_method_resource_and_time(chained: Chained) -> None:
    await chained.calls(1, 2, 3)
    await chained.append.call(event_of(4), recorded(4, subject="user:eve"))
    await chained.append.call(event_of(5), recorded(5, method="m"))
    await chained.append.call(event_of(6), recorded(6, resource="r"))

    assert (await chained.page(subject="user:eve"))[0] == ["call-4"]
    assert (await chained.page(method="m"))[0] == ["call-5"]
    assert (await chained.page(resource="r"))[0] == ["call-6"]
    begin, end = NOON + timedelta(minutes=2), NOON + timedelta(minutes=4)
    assert (await chained.page(start_time=begin, end_time=end))[0] == ["call-3", "call-2"]


@pytest.mark.parametrize("names", [names for size in range(4) for names in combinations(FILTERS, size)])
async def test_a_page_of_any_filter_is_read_by_an_index(chained: Chained, names: tuple[str, ...]) -> None:
    indexes = (await chained.database["audit_records"].index_information()).values()
    fields = [[name for name, _ in index["key"]] for index in indexes]

    assert ["chain", *names, "time", "seq"] in fields


async def test_what_has_grown_is_anchored_once(chained: Chained) -> None:
    anchor = AnchorHeads(chains=chained.chains, anchors=chained.anchors, clock=FixedClock(), keep=None)
    assert (await anchor()).done == 0
    await chained.calls(1, 2)
    await chained.calls(1, project="globex")
    assert ((await anchor()).done, (await anchor()).done) == (2, 0)
    await chained.calls(3)
    assert (await anchor()).done == 1

    head, page = await chained.read.head("acme", PageRequest())
    anchors = page.items
    assert [each.seq for each in anchors] == [2, 3]
    assert verify(await chained.export(), [Head(seq=each.seq, hash=each.hash) for each in anchors]).defect is None
    assert anchors[-1].hash == head.hash


async def test_a_chain_that_fails_keeps_those_behind_it_not_waiting(chained: Chained) -> None:
    anchor = AnchorHeads(chains=chained.chains, anchors=chained.anchors, clock=FixedClock(), keep=timedelta(days=1))
    for project in ("acme", "globex", "zeta"):
        await chained.calls(1, project=project)
    chained.anchors.failing = {"globex"}

    anchored, forgotten = await anchor(), await anchor.forget()

    assert (anchored.done, [*anchored.postponed]) == (2, ["globex"])
    assert [*forgotten.postponed] == ["globex"]
    assert [chain for chain, _, _ in chained.anchors.kept] == ["acme", "zeta"]
    chained.anchors.failing = set()
    assert (await anchor()).done == 1


async def test_a_store_that_is_down_is_not_asked_for_every_chain(chained: Chained) -> None:
    anchor = AnchorHeads(chains=chained.chains, anchors=chained.anchors, clock=FixedClock(), keep=None)
    projects = {f"p{number:02}" for number in range(15)}
    for project in projects:
        await chained.calls(1, project=project)
    chained.anchors.failing = projects

    with pytest.raises(DependencyUnavailable):
        await anchor()
    assert chained.anchors.failed < len(projects)


async def test_an_anchor_of_another_chain_of_that_name_deletes_nothing(chained: Chained) -> None:
    clock = FixedClock()
    anchor = AnchorHeads(chains=chained.chains, anchors=chained.anchors, clock=clock, keep=timedelta(days=40))
    await chained.anchors.put("acme", Head(seq=2, hash="c" * 64))  # of the database that was there before
    clock.advance(timedelta(days=41))
    await chained.calls(1, 2, 3)

    assert (await anchor.forget()).done == 0
    assert verify(await chained.export(), []).first == 1


async def test_old_records_are_deleted_up_to_an_anchor_and_the_rest_stays_verifiable(chained: Chained) -> None:
    clock = FixedClock()
    anchor = AnchorHeads(chains=chained.chains, anchors=chained.anchors, clock=clock, keep=timedelta(days=40))
    await chained.calls(1, 2)
    await anchor()
    chained.anchors.now = NOON + timedelta(days=30)
    await chained.calls(3, 4)
    await anchor()
    assert (await anchor.forget()).done == 0
    clock.advance(timedelta(days=41))
    assert (await anchor.forget()).done == 2

    anchors = [Head(seq=each.seq, hash=each.hash) for each in chained.anchors.all("acme")]
    lines = await chained.export()
    assert (verify(lines, anchors).defect, verify(lines, anchors).first) == (None, 3)
    assert verify(lines, anchors[1:]).defect is Defect.MISSING
    await chained.calls(5)
    assert verify(await chained.export(), anchors).last == 5
