"""What many events add to the graph at the same time, in few calls of the store."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any

from services.monitor.tests.lineage.test_graphs import FORWARD, PROMPT, answer, counted, mongo_graph, only
from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.store.mongo import Database
from tidemill_monitor.lineage.domain.graph import STATE, Edge, NodeUpdate, Part, Ref
from tidemill_monitor.lineage.domain.kinds import PROMPTED, VERSION_OF, Kind
from tidemill_monitor.lineage.mongo import MongoGraph
from tidemill_monitor.lineage.mongo_edges import MongoEdges
from tidemill_monitor.lineage.mongo_ends import End
from tidemill_testkit.clocks import NOON

MODEL = Ref(Kind.MODEL_VERSION, "m@1")


class AtOnce:
    """Updates a collection, and counts how many updates there are at once."""

    def __init__(self, collection: Any) -> None:  # noqa: ANN401 - a collection
        self._collection, self._now, self.max_concurrent = collection, 0, 0

    async def find_one_and_update(self, *given: Any, **options: Any) -> Any:  # noqa: ANN401 - the collection's
        self._now += 1
        self.max_concurrent = max(self.max_concurrent, self._now)
        try:
            return await self._collection.find_one_and_update(*given, **options)
        finally:
            self._now -= 1


async def together(graph: MongoGraph, *updates: NodeUpdate) -> list[Counter[Kind] | BaseException]:
    return await asyncio.gather(*(graph.record("acme", [each]) for each in updates), return_exceptions=True)


async def test_answers_that_come_together_cost_a_part_of_a_call_each(database: Database) -> None:
    calls = Counter[str]()
    nodes, lists, places, counts = (counted(database[name], calls) for name in ("nodes", "edges", "places", "counts"))
    graph = MongoGraph(nodes, MongoEdges(lists, places, list_length=50), counts, count_s=60, max_parts=20)

    await graph.record("acme", [answer(0)])
    alone = calls.total()
    calls.clear()
    await together(graph, *(answer(number) for number in range(1, 49)))

    assert calls.total() <= 2 * alone, calls
    assert [(await only(graph, ref, FORWARD)).count for ref in (PROMPT, MODEL)] == [49, 49]


async def test_what_is_recorded_together_and_again_is_the_graph_of_one_after_the_other(database: Database) -> None:
    graph = mongo_graph(database, list_length=4)
    numbers = [*range(60), *range(0, 60, 3)]

    new = [
        *await together(graph, *(answer(number) for number in numbers)),
        *await together(graph, answer(3), answer(9)),
    ]
    await together(mongo_graph(database, list_length=4), *(answer(number) for number in range(50, 70)))

    assert sum((each for each in new if isinstance(each, Counter)), Counter[Kind]()) == {Kind.INFERENCE: 60}
    assert (await graph.counts())[Kind.INFERENCE] == 70
    everything = await only(graph, PROMPT, FORWARD)
    assert (everything.count, everything.ids) == (70, tuple(f"inf-{number:04d}" for number in range(70)))
    stored = await graph.nodes("acme", [answer(number).ref for number in range(70)])
    assert [node.parts for node in stored.values()] == [(answer(number).part,) for number in range(70)]
    lists = await database["edges"].find({"refs": {"$exists": True}}).to_list(None)
    assert max(len(each["refs"]) for each in lists) < 2 * 4
    assert {each["n"] == len(each["refs"]) for each in lists} == {True}


async def test_of_two_states_of_a_thing_that_come_together_the_later_one_counts(database: Database) -> None:
    graph = mongo_graph(database)

    await together(graph, answer(0), *(answer(1, seq=seq, facts={"n": seq}) for seq in (2, 3, 1)))

    assert (await graph.nodes("acme", [answer(1).ref]))[answer(1).ref].facts == {"n": 3}
    assert (await only(graph, PROMPT, FORWARD)).count == 2


async def test_what_cannot_be_stored_fails_alone(database: Database) -> None:
    graph = mongo_graph(database)

    done = await together(graph, *(answer(number, facts={"n": 2**70 if number == 5 else 1}) for number in range(9)))

    assert [number for number, each in enumerate(done) if isinstance(each, BaseException)] == [5]
    assert (await only(graph, PROMPT, FORWARD)).ids == tuple(f"inf-{number:04d}" for number in range(9) if number != 5)


async def test_what_broke_off_between_places_and_their_lists_is_done_by_the_next_try(database: Database) -> None:
    graph, end = mongo_graph(database), End("acme", PROMPT, PROMPTED, FORWARD)
    for number in range(0, 30, 2):
        name = f"inf-{number:04d}"
        await database["places"].insert_one({"_id": f"{end.slot_of(name)}/{name}", "level": 0})

    for _ in range(2):
        await together(graph, *(answer(number) for number in range(30)))

    found = await only(graph, PROMPT, FORWARD)
    assert (len(found.ids), found.count) == (30, 30)


async def test_answers_that_come_again_together_cost_few_calls_for_their_edges(database: Database) -> None:
    calls = Counter[str]()
    lists, places = counted(database["edges"], calls), counted(database["places"], calls)
    edges = MongoEdges(lists, places, list_length=50)
    graph = MongoGraph(database["nodes"], edges, database["counts"], count_s=60, max_parts=20)
    answers = [answer(number) for number in range(48)]
    await together(graph, *answers)
    calls.clear()

    await together(graph, *answers)

    assert calls.total() <= 2 * 3, calls  # the first event goes alone
    assert [(await only(graph, ref, FORWARD)).count for ref in (PROMPT, MODEL)] == [48, 48]


async def test_first_neighbours_of_many_things_are_written_by_one_call_and_none_is_written_twice(
    database: Database,
) -> None:
    calls = Counter[str]()
    edges = MongoEdges(counted(database["edges"], calls), database["places"], list_length=50)
    graph = MongoGraph(database["nodes"], edges, database["counts"], count_s=60, max_parts=20)

    def version(document: int, number: int) -> NodeUpdate:
        ref = Ref(Kind.DOCUMENT_VERSION, f"d{document}@{number}")
        part = Part(key=STATE, event="e", seq=number, time=NOON)
        return NodeUpdate(ref=ref, part=part, sources=(Edge(VERSION_OF, f"d{document}", ref.id),))

    await together(graph, version(0, 1), *(version(document, 1) for document in range(1, 30)))
    assert calls.total() <= 2, calls  # the first event goes alone
    await together(graph, *(version(document, number) for document in range(31) for number in (1, 2)))

    for document, versions in ((0, 2), (29, 2), (30, 2)):
        found = await only(graph, Ref(Kind.DOCUMENT, f"d{document}"), FORWARD)
        assert (found.count, found.ids) == (
            versions,
            tuple(f"d{document}@{number}" for number in range(1, versions + 1)),
        )


async def test_different_things_of_a_batch_are_written_at_the_same_time(database: Database) -> None:
    nodes = AtOnce(database["nodes"])
    edges = MongoEdges(database["edges"], database["places"], list_length=50)
    graph = MongoGraph(nodes, edges, database["counts"], count_s=60, max_parts=20)  # type: ignore[arg-type]
    part = Part(key="configured_1", event="e", seq=1, time=NOON)

    await together(graph, *(NodeUpdate(ref=Ref(Kind.DEPLOYMENT, f"d{number}"), part=part) for number in range(40)))

    assert nodes.max_concurrent == 16


async def test_what_was_inserted_is_counted_though_its_edges_cannot_be_written(database: Database) -> None:
    graph = mongo_graph(database)
    add_all, down = graph._edges.add_all, [True]  # noqa: SLF001 - a store that fails between two of its writes

    async def failing(added: Iterable[tuple[End, str]]) -> None:
        if down:
            message = "MongoDB is down"
            raise DependencyUnavailable(message, dependency="mongodb")
        await add_all(added)

    graph._edges.add_all = failing  # type: ignore[method-assign]  # noqa: SLF001 - ditto
    answers = [answer(number) for number in range(9)]
    await graph.counts()  # from now on counted as it changes
    await together(graph, *answers)
    down.clear()
    await together(graph, *answers)

    assert (await graph.counts())[Kind.INFERENCE] == 9
    assert (await only(graph, PROMPT, FORWARD)).count == 9


async def test_an_event_of_a_thing_is_one_call_and_one_more_where_an_old_one_goes(database: Database) -> None:
    calls = Counter[str]()
    nodes = counted(database["nodes"], calls)
    edges = MongoEdges(database["edges"], database["places"], list_length=3)
    graph = MongoGraph(nodes, edges, database["counts"], count_s=60, max_parts=2)
    ref = Ref(Kind.DEPLOYMENT, "helpdesk")

    async def said(seq: int) -> int:
        calls.clear()
        part = Part(key=f"configured_{seq}", event="e", seq=seq, time=NOON)
        await graph.record("acme", [NodeUpdate(ref=ref, part=part)])
        return calls.total()

    assert [await said(seq) for seq in range(1, 5)] == [1, 1, 2, 2]
    assert [part.seq for part in (await graph.nodes("acme", [ref]))[ref].parts] == [3, 4]
