"""What erasures take out of the graph, and what they leave."""

from services.monitor.tests.lineage.test_graphs import mongo_graph
from services.monitor.tests.story import a_turn
from tidemill_kit.store.mongo import Database
from tidemill_monitor.events.ingest import DocumentDeleted
from tidemill_monitor.events.meta import EventMeta
from tidemill_monitor.lineage.domain.graph import NodeUpdate, Part, Ref
from tidemill_monitor.lineage.domain.kinds import VERSION_OF, Direction, Kind
from tidemill_monitor.lineage.domain.parts import sources_of, updates_of
from tidemill_monitor.lineage.mongo import MongoGraph
from tidemill_testkit.clocks import NOON


def node(kind: Kind, name: str, **facts: str) -> NodeUpdate:
    ref = Ref(kind, name)
    part = Part(key="state", event="ingested", seq=1, time=NOON, facts=facts, message="")
    document = name.partition("@")[0] if kind is Kind.DOCUMENT_VERSION else ""
    return NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (VERSION_OF, document)))


async def with_document(graph: MongoGraph, project: str, name: str) -> None:
    facts = {"source": "cms", "key": "salaries of Ada.md", "state": "present"}
    await graph.record(
        project,
        [node(Kind.DOCUMENT, name, **facts), *(node(Kind.DOCUMENT_VERSION, f"{name}@{n}", **facts) for n in (1, 2))],
    )


async def test_a_project_is_erased_in_batches_and_no_other_one(database: Database) -> None:
    graph = mongo_graph(database)
    for project in ("acme", "acme-2", "acme2"):
        await with_document(graph, project, "d1")

    counts = [await graph.erase_project("acme") for _ in range(2)]

    assert counts == [3, 0]
    left = [each["project"] async for each in database["nodes"].find({})]
    assert sorted(left) == ["acme-2"] * 3 + ["acme2"] * 3
    assert (await graph.counts())[Kind.DOCUMENT_VERSION] == 4


async def test_what_names_a_document_is_erased_and_its_place_in_the_graph_stays(database: Database) -> None:
    graph = mongo_graph(database)
    for name in ("d1", "d2"):
        await with_document(graph, "acme", name)

    counts = [await graph.erase_document("acme", "d1") for _ in range(2)]

    assert counts == [3, 0]
    refs = [Ref(Kind.DOCUMENT, "d1"), Ref(Kind.DOCUMENT_VERSION, "d1@1"), Ref(Kind.DOCUMENT_VERSION, "d1@2")]
    nodes = await graph.nodes("acme", refs)
    assert [dict(part.facts) for ref in refs for part in nodes[ref].parts] == [{"state": "present"}] * 3
    (versions,) = await graph.neighbours("acme", refs[:1], Direction.FORWARD, limit=9)
    assert versions.ids == ("d1@1", "d1@2")
    other = (await graph.nodes("acme", [Ref(Kind.DOCUMENT, "d2")]))[Ref(Kind.DOCUMENT, "d2")]
    assert other.parts[0].facts["key"] == "salaries of Ada.md"
    assert await graph.erase_document("acme", "absent") == 0


def test_the_event_of_an_erased_document_brings_nothing_back() -> None:
    (update,) = updates_of(
        DocumentDeleted(document="d1", seq=9, source="cms", key="salaries of Ada.md", erased=True),
        EventMeta(type="tidemill.ingest.document.deleted.v1", time=NOON),
    )

    assert update.part is not None
    assert update.part.facts == {"state": "erased"}


async def test_a_whole_turn_is_erased(database: Database) -> None:
    graph = mongo_graph(database)
    for event in a_turn().events:
        await graph.record("acme", updates_of(event.body, event.meta))

    while await graph.erase_project("acme"):
        pass

    assert await database["nodes"].count_documents({}) == 0
    assert set((await graph.counts()).values()) == {0}
