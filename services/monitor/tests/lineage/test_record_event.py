import random
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import pytest

from services.monitor.tests.fakes import ACME, Monitor, shown_ids, words
from services.monitor.tests.story import NEW, Story, a_turn
from tidemill_monitor.errors import NothingKnown
from tidemill_monitor.lineage.domain.graph import NodeUpdate
from tidemill_monitor.lineage.domain.kinds import Kind


async def everything(monitor: Monitor) -> list[object]:
    """Return what monitor can say of a turn."""
    asked = [
        ("model_version", "helpdesk_lora@1"),
        ("inference", "after-1"),
        ("document", "d1"),
        ("prompt_version", "answer@2"),
    ]
    found: list[object] = [
        await monitor.lineage(kind, name, direction)
        for kind, name in asked
        for direction in ("back", "forward")
        if (kind, direction) != ("prompt_version", "back")
    ]
    return [*found, await monitor.story_of("helpdesk"), await monitor.story_of("helpdesk", "ro-1")]


async def test_the_same_events_in_any_order_and_number_make_the_same_history() -> None:
    monitor, other = Monitor(), Monitor()
    await monitor.consume(a_turn())
    story = a_turn()
    story.events = [*story.events, *story.events[::2]]
    random.Random(7).shuffle(story.events)  # noqa: S311 - an order, no secret
    await other.consume(story)

    assert await everything(other) == await everything(monitor)


async def test_what_is_new_is_counted_once() -> None:
    monitor, story = Monitor(), Story()
    story.answer("inf-1")
    (event,) = story.events

    first = await monitor.record(ACME, event.meta, event.body)
    again = await monitor.record(ACME, event.meta, event.body)

    assert dict(first) == {Kind.INFERENCE: 1}
    assert dict(again) == {}


async def test_projects_do_not_see_each_other() -> None:
    monitor, story = Monitor(), Story()
    story.answer("inf-1")
    await monitor.consume(story)
    other = Story()
    other.triggers("fb-1", "inf-1")
    await monitor.consume(other, project="other")

    assert shown_ids(await monitor.lineage("inference", "inf-1", "forward")) == {"inference": ["inf-1"]}


async def test_an_answer_that_failed_first_and_completed_then_is_completed() -> None:
    monitor, story = Monitor(), Story()
    failed = {"inference": "inf-1", "deployment": "helpdesk", "reason": "DEPENDENCY_UNAVAILABLE"}
    story.answer("inf-1")
    story.events[0].data["seq"] = "2"
    story.record("inference.inference.failed", "inf-1", seq=1, **failed)
    await monitor.consume(story)

    (node,) = (await monitor.lineage("inference", "inf-1", "forward")).nodes
    assert node.facts["state"] == "completed"
    assert "reason" not in node.facts


async def test_a_deleted_document_says_so_and_its_versions_stay() -> None:
    monitor, story = Monitor(), Story()
    story.document("d1")
    story.document("d1", number=2, meta="updated")
    story.record("ingest.document.deleted", "d1", seq=3, document="d1", source="cms", key="kb/d1", erased=True)
    await monitor.consume(story)

    lineage = await monitor.lineage("document", "d1", "forward")
    assert lineage.nodes[0].facts["state"] == "erased"
    assert words(lineage) == {("d1", "version_of", "d1@1"), ("d1", "version_of", "d1@2")}


@pytest.mark.parametrize("late_s", [0, 1])
async def test_a_late_event_brings_no_name_of_an_erased_document_back(late_s: int) -> None:
    monitor, story = Monitor(), Story()
    story.document("d1")
    story.document("d2")
    story.record("ingest.document.deleted", "d1", seq=3, document="d1", source="cms", key="kb/d1")
    monitor.erased_until = {"d1": max(each.meta.time for each in story.events) + timedelta(seconds=late_s)}

    await monitor.consume(story)

    erased, other = [await monitor.lineage("document", name, "forward") for name in ("d1", "d2")]
    assert [dict(node.facts) for node in erased.nodes] == [{"state": "deleted"}, {}]
    assert other.nodes[0].facts["source"] == "cms"
    assert words(erased) == {("d1", "version_of", "d1@1")}


async def test_a_document_that_is_erased_while_its_event_is_written_is_not_named() -> None:
    monitor, story = Monitor(), Story()
    story.document("d1")
    record = monitor.graph.record

    async def slow(project: str, updates: Sequence[NodeUpdate]) -> Counter[Kind]:
        new = await record(project, updates)
        monitor.erased_until = {"d1": story.events[-1].meta.time}
        return new

    monitor.graph.record = slow  # type: ignore[method-assign]
    await monitor.handle(story.events[0], project="acme")

    assert "kb/d1" not in repr((await monitor.lineage("document", "d1", "forward")).nodes)


async def test_what_came_of_a_document_after_its_erasure_is_named() -> None:
    monitor, story = Monitor(), Story()
    story.document("d1")
    monitor.erased_until = {"d1": story.events[0].meta.time - timedelta(seconds=1)}

    await monitor.consume(story)

    assert (await monitor.lineage("document", "d1", "forward")).nodes[0].facts["source"] == "cms"


async def test_nothing_of_people_is_kept() -> None:
    monitor, story = Monitor(), a_turn()
    await monitor.consume(story)

    kept = repr([await everything(monitor), monitor.graph.__dict__])
    assert "u-17" not in kept
    assert "request-17" not in kept


async def test_what_failed_to_answer_is_reported_by_facts_and_only_what_answered_is_linked() -> None:
    monitor, story = Monitor(), Story()
    candidate = {"name": "candidate", "rollout": "ro-1", "configuration": NEW, "model": "m@2", "prompt": "answer@3"}
    failed = {"inference": "inf-1", "deployment": "helpdesk", "reason": "DEPENDENCY_UNAVAILABLE"}
    story.record("inference.inference.failed", "inf-1", seq=1, **failed, variant=candidate)
    await monitor.consume(story)
    alone = await monitor.lineage("inference", "inf-1")

    story.answer("inf-1", model="m@1", documents=("d1",))
    story.events[-1].data["seq"] = "2"
    await monitor.consume(story)
    retried = await monitor.lineage("inference", "inf-1")

    assert (alone.nodes[0].facts["model"], words(alone)) == ("m@2", set())
    assert {(relation, source) for source, relation, _ in words(retried)} == {
        ("answered", "m@1"),
        ("prompted", "answer@2"),
        ("cited_by", "d1@1"),
    }
    with pytest.raises(NothingKnown):
        await monitor.lineage("model_version", "m@2", "forward")


async def test_a_prompt_that_is_saved_nowhere_is_a_fact_and_no_thing_of_the_graph() -> None:
    monitor, story = Monitor(), Story()
    story.answer("inf-1", model="m@1", documents=("d1",), purpose="PURPOSE_EVALUATION")
    story.events[-1].data["variant"]["prompt"] = f"unsaved:{'0' * 64}"
    await monitor.consume(story)

    found = await monitor.lineage("inference", "inf-1")

    assert {relation for _, relation, _ in words(found)} == {"answered", "cited_by"}
    assert found.nodes[0].facts["prompt"] == f"unsaved:{'0' * 64}"


async def test_a_prompt_version_comes_from_the_one_that_was_forked_or_merged_into_it() -> None:
    monitor, story = Monitor(), Story()
    for number, (name, version, origin) in enumerate([("brief", 1, "answer@2"), ("answer", 3, "brief@1")], start=1):
        written = {"prompt": name, "version": version, "origin": origin}
        story.record("inference.prompt.version_created", name, seq=number, **written)
    await monitor.consume(story)

    found = await monitor.lineage("prompt_version", "answer@3")

    assert words(found) == {("brief@1", "came_into", "answer@3"), ("answer@2", "came_into", "brief@1")}


async def test_an_answer_comes_from_the_dataset_version_whose_examples_it_was_given() -> None:
    monitor, story = Monitor(), Story()
    story.answer("inf-1", model="m@1")
    story.events[-1].data["examples"] = {"dataset": "sft@3", "examples": [{"id": "e1", "similarity": 0.9}]}
    await monitor.consume(story)

    found = await monitor.lineage("inference", "inf-1")

    assert ("sft@3", "shown_to", "inf-1") in words(found)
