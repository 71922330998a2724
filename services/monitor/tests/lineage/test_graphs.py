"""The contract of graphs, for each implementation."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from services.monitor.tests.fakes import ACME, InMemoryGraph, Monitor
from services.monitor.tests.story import a_turn
from tidemill_kit.store.mongo import Database
from tidemill_monitor.lineage.domain.graph import Fact, Neighbours, NodeUpdate, Part, Ref
from tidemill_monitor.lineage.domain.kinds import (
    ANSWERED,
    CITED_BY,
    EXAMPLE_OF,
    GIVEN_TO,
    PROMPTED,
    REACTED_TO,
    RELATIONS,
    ROLLED_OUT,
    Direction,
    Kind,
)
from tidemill_monitor.lineage.domain.parts import sources_of, updates_of
from tidemill_monitor.lineage.mongo import MongoGraph
from tidemill_monitor.lineage.mongo_edges import MongoEdges
from tidemill_monitor.lineage.mongo_ends import End
from tidemill_monitor.lineage.ports import Graph
from tidemill_monitor.lineage.read_lineage import LineageLimits, LineageQuery, ReadLineage
from tidemill_monitor.lineage.read_timeline import ReadTimeline
from tidemill_testkit.clocks import NOON

PROMPT = Ref(Kind.PROMPT_VERSION, "answer.v1@2")
BACK, FORWARD = Direction.BACK, Direction.FORWARD


@pytest.fixture(params=["memory", "mongo"])
def graph(request: pytest.FixtureRequest) -> Graph:
    if request.param == "memory":
        return InMemoryGraph(max_parts=20)
    database: Database = request.getfixturevalue("database")
    return mongo_graph(database)


def mongo_graph(database: Database, *, list_length: int = 3) -> MongoGraph:
    return MongoGraph(
        database["nodes"],
        MongoEdges(database["edges"], database["places"], list_length=list_length),
        database["counts"],
        count_s=60,
        max_parts=20,
    )


def answer(number: int, *, seq: int = 1, model: str = "m@1", facts: Mapping[str, Fact] | None = None) -> NodeUpdate:
    ref = Ref(Kind.INFERENCE, f"inf-{number:04d}")
    time = NOON + timedelta(seconds=number)
    part = Part(key="state", event="completed", seq=seq, time=time, facts=facts or {}, message="a.b$c")
    return NodeUpdate(ref=ref, part=part, sources=sources_of(ref, (PROMPTED, PROMPT.id), (ANSWERED, model)))


async def only(graph: Graph, ref: Ref, direction: Direction, *, limit: int = 100) -> Neighbours:
    (found,) = await graph.neighbours("acme", [ref], direction, limit=limit)
    return found


async def test_a_thing_is_read_as_it_was_reported(graph: Graph) -> None:
    facts: dict[str, Fact] = {
        "state": "completed",
        "rouge_l on suite:a.b@1": "0.5",
        "tokens": 24,
        "valid": 0.5,
        "withdrawn": True,
        "examples": {"offered": 2, "fitted": 1},
    }
    updates = answer(1, facts=facts)

    first = await graph.record("acme", [updates])
    again = await graph.record("acme", [updates])

    node = (await graph.nodes("acme", [updates.ref]))[updates.ref]
    assert (first[Kind.INFERENCE], again[Kind.INFERENCE]) == (1, 0)
    assert node.parts == (updates.part,)
    assert node.facts == facts
    assert [type(fact) for fact in node.facts.values()] == [str, str, int, float, bool, dict]
    assert set(node.sources) == set(updates.sources)
    assert node.time == NOON + timedelta(seconds=1)


async def test_of_parts_with_one_key_the_highest_number_counts_whatever_comes_last(graph: Graph) -> None:
    for seq in (2, 3, 1):
        await graph.record("acme", [answer(seq, seq=seq)])
    ref = Ref(Kind.INFERENCE, "inf-0009")
    for seq, model in ((2, "m@2"), (1, "m@1")):
        sources = sources_of(ref, (ANSWERED, model))
        part = Part(key="state", event="e", seq=seq, time=NOON - timedelta(seconds=9 - seq), facts={"n": str(seq)})
        await graph.record("acme", [NodeUpdate(ref=ref, part=part, sources=sources)])

    node = (await graph.nodes("acme", [ref]))[ref]
    assert node.facts == {"n": "2"}
    assert sorted(edge.source for edge in node.sources) == ["m@1", "m@2"]
    assert node.time == NOON - timedelta(seconds=8)


@pytest.mark.parametrize("step", [1, 7, 29])
async def test_a_thing_keeps_its_state_and_its_last_events_in_whatever_order_they_come(graph: Graph, step: int) -> None:
    ref = Ref(Kind.DEPLOYMENT, "helpdesk")

    def said(key: str, seq: int) -> NodeUpdate:
        return NodeUpdate(ref=ref, part=Part(key=key, event="e", seq=seq, time=NOON + timedelta(minutes=seq)))

    await graph.record("acme", [said("state", 1)])
    for place in range(60):
        seq = 2 + place % 30 * step % 30  # each twice
        await graph.record("acme", [said(f"configured_{seq}", seq)])

    node = (await graph.nodes("acme", [ref]))[ref]
    assert [part.key for part in sorted(node.parts, key=lambda part: part.seq)] == [
        "state",
        *(f"configured_{seq}" for seq in range(12, 32)),
    ]
    assert node.time == NOON + timedelta(minutes=1)


async def test_a_thing_that_was_only_named_is_there_with_its_edges(graph: Graph) -> None:
    ref = Ref(Kind.FEEDBACK, "fb-1")
    await graph.record("acme", [NodeUpdate(ref=ref, sources=sources_of(ref, (REACTED_TO, "inf-1")))])
    await graph.record(
        "acme", [NodeUpdate(ref=ref, part=Part(key="state", event="e", seq=1, time=NOON, facts={"a": "b"}))]
    )

    node = (await graph.nodes("acme", [ref]))[ref]
    assert (node.facts, len(node.sources)) == ({"a": "b"}, 1)
    assert (await only(graph, Ref(Kind.INFERENCE, "inf-1"), FORWARD)).ids == ("fb-1",)


async def test_a_hub_is_counted_whole_and_listed_in_part(graph: Graph) -> None:
    numbers = list(range(70))
    for number in [*numbers, *numbers[::7]]:
        await graph.record("acme", [answer(number)])

    everything = await only(graph, PROMPT, FORWARD, limit=1000)
    some = await only(graph, PROMPT, FORWARD, limit=10)

    assert everything.ids == tuple(f"inf-{number:04d}" for number in numbers)
    assert everything.count == some.count == 70
    assert len(some.ids) == 10
    assert set(some.ids) < set(everything.ids)


async def test_a_popular_document_leads_to_its_answers_and_each_of_them_back_to_it(graph: Graph) -> None:
    document = Ref(Kind.DOCUMENT_VERSION, "d1@1")
    answers = [Ref(Kind.INFERENCE, f"inf-{number:04d}") for number in range(70)]
    for number, ref in enumerate(answers):
        relation = CITED_BY if number % 2 else GIVEN_TO
        await graph.record("acme", [NodeUpdate(ref=ref, sources=sources_of(ref, (relation, document.id)))])

    forward = await graph.neighbours("acme", [document], FORWARD, limit=1000)
    some = await graph.neighbours("acme", [document], FORWARD, limit=10)
    back = await graph.neighbours("acme", answers, BACK, limit=10)

    assert {each.relation: each.ids for each in forward} == {
        CITED_BY: tuple(ref.id for ref in answers[1::2]),
        GIVEN_TO: tuple(ref.id for ref in answers[::2]),
    }
    assert [(len(each.ids), each.count) for each in some] == [(10, 35), (10, 35)]
    assert [each.ids for each in back] == [("d1@1",)] * len(answers)


async def test_neighbours_come_in_a_fixed_order_and_by_the_relations_asked_for(graph: Graph) -> None:
    rollout = Ref(Kind.ROLLOUT, "ro-1")
    await graph.record(
        "acme", [answer(2), answer(1), NodeUpdate(ref=rollout, sources=sources_of(rollout, (ROLLED_OUT, "m@1")))]
    )
    model = Ref(Kind.MODEL_VERSION, "m@1")

    found = await graph.neighbours("acme", [PROMPT, model], FORWARD, limit=5)
    rolled_out = await graph.neighbours("acme", [PROMPT, model], FORWARD, limit=5, only=[ROLLED_OUT])
    back = await graph.neighbours("acme", [Ref(Kind.INFERENCE, "inf-0001")], BACK, limit=5)

    assert [(each.relation.name, each.ids) for each in found] == [
        ("prompted", ("inf-0001", "inf-0002")),
        ("answered", ("inf-0001", "inf-0002")),
        ("rolled_out", ("ro-1",)),
    ]
    assert [each.relation for each in rolled_out] == [ROLLED_OUT]
    assert [(each.relation.name, each.ids) for each in back] == [("answered", ("m@1",)), ("prompted", (PROMPT.id,))]


async def test_a_curation_leads_to_its_examples_and_they_to_it(graph: Graph) -> None:
    curation = Ref(Kind.CURATION, "c@1")
    examples = [f"fb-{number:02d}" for number in range(10)]
    for _ in range(2):
        await graph.record_examples("acme", "c@1", [*examples, "fb-03"])

    back = await only(graph, curation, BACK, limit=4)
    assert (back.relation, back.ids, back.count) == (EXAMPLE_OF, tuple(examples[:4]), 10)
    assert (await only(graph, Ref(Kind.FEEDBACK, "fb-03"), FORWARD)).ids == ("c@1",)


async def test_a_project_has_a_graph_of_its_own(graph: Graph) -> None:
    await graph.record("acme", [answer(1)])

    assert await graph.nodes("other", [answer(1).ref]) == {}
    assert await graph.neighbours("other", [PROMPT], FORWARD, limit=5) == []


async def test_what_is_forgotten_is_gone_from_both_ends_and_may_come_back(graph: Graph) -> None:
    updates = [answer(number) for number in range(40)]
    await graph.record("acme", updates)
    await graph.keep("acme", updates[0].ref)
    old = await graph.inferences_before(NOON + timedelta(seconds=31), limit=100)
    for project, ref in old:
        await graph.forget(project, ref)
        await graph.forget(project, ref)

    assert sorted(ref.id for _, ref in old) == [each.ref.id for each in updates[1:31]]
    left = await only(graph, PROMPT, FORWARD)
    assert (left.ids, left.count) == (tuple(each.ref.id for each in [updates[0], *updates[31:]]), 10)
    assert await graph.nodes("acme", [each.ref for each in updates[1:31]]) == {}
    assert (await graph.counts())[Kind.INFERENCE] == 10
    await graph.record("acme", updates)
    assert (await only(graph, PROMPT, FORWARD)).count == 40


async def test_what_many_report_at_once_is_all_there(graph: Graph) -> None:
    ref = Ref(Kind.EVALUATION, "ev-1")

    async def record(number: int) -> None:
        part = Part(key=f"p{number % 5}", event="e", seq=1, time=NOON, facts={f"n{number % 5}": "x"})
        await graph.record("acme", [NodeUpdate(ref=ref, part=part), answer(number % 20)])

    await asyncio.gather(*(record(number) for number in range(60)))

    assert len((await graph.nodes("acme", [ref]))[ref].parts) == 5
    assert (await only(graph, PROMPT, FORWARD)).count == 20


async def everything_in(graph: Graph) -> Sequence[object]:
    lineage = ReadLineage(graph=graph, limits=LineageLimits())
    asked = [("model_version", "helpdesk_lora@1"), ("model_version", "smollm2@1"), ("document", "d1")]
    found: list[object] = [
        await lineage(ACME, LineageQuery(kind=kind, id=name, direction=way))
        for kind, name in asked
        for way in Direction
    ]
    return [*found, await ReadTimeline(graph=graph, max_entries=100)(ACME, "helpdesk")]


async def test_a_turn_that_is_recorded_backwards_is_the_same_turn(database: Database) -> None:
    """The fake and MongoDB agree, and a rebuild from the beginning finds the same graph."""
    forwards = Monitor()
    await forwards.consume(a_turn(reactions=12))
    mongo = mongo_graph(database)
    story = a_turn(reactions=12)
    for event in reversed(story.events):
        await mongo.record("acme", updates_of(event.body, event.meta))
    for batch in forwards.batches.recorded.values():
        examples = await forwards.examples.read(batch)
        await mongo.record_examples("acme", batch.curation, [each.feedback for each in examples])
        note = Part(key="examples", event="", seq=0, time=batch.time, facts={"linked": len(examples)})
        await mongo.record("acme", [NodeUpdate(ref=batch.ref, part=note)])

    assert await everything_in(mongo) == await everything_in(forwards.graph)


async def test_a_popular_document_has_many_lists_side_by_side(database: Database) -> None:
    graph = mongo_graph(database, list_length=3)
    for number in range(96):
        ref = Ref(Kind.INFERENCE, f"inf-{number:04d}")
        await graph.record("acme", [NodeUpdate(ref=ref, sources=sources_of(ref, (GIVEN_TO, "d1@1")))])

    lists = await database["edges"].find({"refs": {"$exists": True}}).to_list(None)
    longest = max(int(each["_id"].rpartition("/")[2]) for each in lists)
    assert longest + 1 < 96 / 3 / 2, "one chain would be scanned with each answer"


async def test_lists_stay_short_and_are_found_by_id(database: Database) -> None:
    graph = mongo_graph(database, list_length=4)
    for number in range(130):
        await graph.record("acme", [answer(number)])

    lists = await database["edges"].find({"refs": {"$exists": True}}).to_list(None)
    assert max(len(each["refs"]) for each in lists) == 4
    assert {each["n"] == len(each["refs"]) for each in lists} == {True}
    again = mongo_graph(database, list_length=4)  # another process, without caches
    for number in range(0, 130, 3):
        await again.record("acme", [answer(number)])
    assert (await only(again, PROMPT, FORWARD)).count == 130


async def test_an_edge_costs_the_same_calls_however_many_there_are(database: Database) -> None:
    calls = Counter[str]()
    lists, places = (counted(database[name], calls) for name in ("edges", "places"))
    edges = MongoEdges(lists, places, list_length=2)
    end = End("acme", PROMPT, PROMPTED, FORWARD)

    async def added(numbers: range) -> float:
        calls.clear()
        for number in numbers:
            await edges.add(end, f"inf-{number:05d}")
        return calls.total() / len(numbers)

    await added(range(48))
    early = await added(range(48, 96))
    assert await added(range(96, 240)) <= 1.1 * early
    again = await added(range(48))
    assert await added(range(192, 240)) <= again <= 5
    assert (await edges.read([end], limit=1))[end][1] == 240


async def test_lists_that_are_older_than_heads_and_places_are_gone_on_with(database: Database) -> None:
    end = End("acme", PROMPT, PROMPTED, FORWARD)
    of_slot: dict[str, list[str]] = {}
    for number in range(100):
        of_slot.setdefault(end.slot_of(f"inf-{number:04d}"), []).append(f"inf-{number:04d}")
    for slot, ids in of_slot.items():
        lists = [ids[start : start + 2] for start in range(0, len(ids), 2)]
        for level, refs in enumerate(lists):
            old = {"_id": f"{slot}/{level}", "refs": refs, "n": len(refs)}
            await database["edges"].insert_one(old | ({"full": True} if level + 1 < len(lists) else {}))
    graph = mongo_graph(database, list_length=2)

    assert (await only(graph, PROMPT, FORWARD, limit=1000)).count == 100
    for number in range(120):
        await graph.record("acme", [answer(number)])
    everything = await only(graph, PROMPT, FORWARD, limit=1000)
    assert (len(everything.ids), everything.count) == (120, 120)
    for number in range(0, 120, 2):
        await graph.forget("acme", Ref(Kind.INFERENCE, f"inf-{number:04d}"))
    left = await only(graph, PROMPT, FORWARD, limit=1000)
    assert (len(left.ids), left.count) == (60, 60)


async def test_a_thing_that_is_no_hub_may_have_many_neighbours_too(database: Database) -> None:
    graph = mongo_graph(database, list_length=3)
    inference = Ref(Kind.INFERENCE, "inf-1")
    for number in [*range(40), *range(40)]:
        ref = Ref(Kind.FEEDBACK, f"fb-{number:02d}")
        await graph.record("acme", [NodeUpdate(ref=ref, sources=sources_of(ref, (REACTED_TO, inference.id)))])

    found = await only(graph, inference, FORWARD, limit=1000)
    assert (len(found.ids), found.count) == (40, 40)
    assert len((await only(graph, inference, FORWARD, limit=5)).ids) == 5


async def test_what_broke_off_between_a_place_and_its_list_is_done_by_the_next_try(database: Database) -> None:
    graph, end = mongo_graph(database, list_length=2), End("acme", PROMPT, PROMPTED, FORWARD)
    slot = end.slot_of("inf-0001")
    await database["places"].insert_one({"_id": f"{slot}/inf-0001", "level": 0})
    await database["edges"].insert_one({"_id": f"{slot}/0", "refs": ["a", "b"], "n": 2, "full": True, "placed": True})

    for _ in range(2):
        await graph.record("acme", [answer(1)])

    assert set((await only(graph, PROMPT, FORWARD)).ids) == {"a", "b", "inf-0001"}
    await graph.forget("acme", answer(1).ref)
    assert set((await only(graph, PROMPT, FORWARD)).ids) == {"a", "b"}


def counted(collection: Any, calls: Counter[str]) -> Any:  # noqa: ANN401 - a collection
    """Return what passes calls on to a collection, and counts them."""

    class Counted:
        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever it has
            calls[name] += 1
            return getattr(collection, name)

    return Counted()


def test_only_hubs_are_spread_over_slots() -> None:
    spread = {
        relation.name for relation in RELATIONS if End("p", Ref(relation.source, "x"), relation, FORWARD).slots > 1
    }

    assert spread == {"given_to", "cited_by", "shown_to", "prompted", "answered", "answered_in"}
