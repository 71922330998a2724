import pytest

from services.monitor.tests.fakes import ACME, Monitor, shown_ids, words
from services.monitor.tests.story import Story, a_turn
from tidemill_core.errors import InvalidInput
from tidemill_monitor.errors import NotAKind, NothingKnown
from tidemill_monitor.lineage.domain.kinds import Kind
from tidemill_monitor.lineage.read_lineage import FOLDED, LineageLimits, LineageQuery


async def after_a_turn(**limits: int) -> Monitor:
    monitor = Monitor(limits=LineageLimits(**limits))
    await monitor.consume(a_turn())
    return monitor


async def test_a_promoted_version_leads_back_to_the_documents() -> None:
    monitor = await after_a_turn()

    lineage = await monitor.lineage("model_version", "helpdesk_lora@1")

    assert shown_ids(lineage) == {
        "model_version": ["helpdesk_lora@1", "smollm2@1"],
        "training_run": ["run-1"],
        "dataset_version": ["helpdesk_sft@1"],
        "curation": ["helpdesk_sft@1"],
        "deployment": ["helpdesk"],
        "feedback": ["fb-000", "fb-001", "fb-002"],
        "inference": ["inf-000", "inf-001", "inf-002"],
        "prompt_version": ["answer@2"],
        "document_version": ["d1@1", "d2@1"],
        "document": ["d1", "d2"],
    }
    assert {
        ("run-1", "registered", "helpdesk_lora@1"),
        ("helpdesk_sft@1", "trained_on", "run-1"),
        ("helpdesk_sft@1", "published_as", "helpdesk_sft@1"),
        ("fb-001", "example_of", "helpdesk_sft@1"),
        ("inf-001", "reacted_to", "fb-001"),
        ("d1@1", "cited_by", "inf-001"),
        ("d2@1", "given_to", "inf-001"),
    } <= words(lineage)
    assert (lineage.nodes[0].ref.id, lineage.cut) == ("helpdesk_lora@1", False)


async def test_it_leads_forward_to_its_rollout_and_the_answers_it_gave() -> None:
    monitor = await after_a_turn()

    lineage = await monitor.lineage("model_version", "helpdesk_lora@1", "forward")

    assert shown_ids(lineage) == {
        "model_version": ["helpdesk_lora@1"],
        "evaluation": ["ev-1"],
        "rollout": ["ro-1"],
        "inference": ["after-1", "canary-1"],
    }
    assert ("ro-1", "answered_in", "canary-1") in words(lineage)
    assert ("ro-1", "answered_in", "canary-2") not in words(lineage)


async def test_what_is_too_much_of_a_kind_is_folded_and_not_walked_on_from() -> None:
    monitor = Monitor()
    await monitor.consume(a_turn(reactions=200))

    lineage = await monitor.lineage("model_version", "helpdesk_lora@1", nodes_of_kind=10)

    shown = shown_ids(lineage)
    assert len(shown["feedback"]) == len(shown["inference"]) == 10
    assert lineage.folded == {Kind.FEEDBACK: 190}
    assert (FOLDED, "example_of", "helpdesk_sft@1") in words(lineage)
    assert lineage.cut
    assert max(monitor.graph.calls) <= 30


async def test_a_prompt_that_no_event_reported_is_known_by_the_answers_it_gave() -> None:
    monitor = await after_a_turn()

    forward = await monitor.lineage("prompt_version", "answer@2", "forward")
    back = await monitor.lineage("prompt_version", "answer@2", "back")

    assert len(shown_ids(forward)["inference"]) == 6
    assert shown_ids(back) == {"prompt_version": ["answer@2"]}
    assert back.nodes[0].time is None


async def test_depth_is_kept_and_says_that_it_cut() -> None:
    monitor = await after_a_turn()

    one = await monitor.lineage("model_version", "helpdesk_lora@1", depth=1)
    all_of_it = await monitor.lineage("model_version", "helpdesk_lora@1", depth=7)

    assert shown_ids(one) == {"model_version": ["helpdesk_lora@1"], "training_run": ["run-1"]}
    assert one.cut
    assert not all_of_it.cut


async def test_what_two_things_share_is_shown_once() -> None:
    monitor = Monitor()
    story = a_turn()
    story.curate(seq=2, examples=[("fb-000", "inf-000"), ("fb-001", "inf-001")])
    await monitor.consume(story)

    lineage = await monitor.lineage("feedback", "fb-000", "forward", depth=1)

    assert words(lineage) == {("fb-000", "example_of", "helpdesk_sft@1"), ("fb-000", "example_of", "helpdesk_sft@2")}


async def test_a_thing_that_was_never_reported_is_not_found() -> None:
    with pytest.raises(NothingKnown, match="there is no model_version m@1"):
        await Monitor().lineage("model_version", "m@1")


async def test_a_kind_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(NotAKind, match="is 'model'; it must be one of document, document_version"):
        await Monitor().lineage("model", "m@1")


@pytest.mark.parametrize(
    ("asked", "updates"),
    [
        ({"depth": 33}, "depth: is 33; send 0 \\(for 8\\) to 32"),
        ({"depth": -1}, "depth: is -1"),
        ({"nodes_of_kind": 1001}, "nodes_of_kind: is 1001; send 0 \\(for 50\\) to 1000"),
    ],
)
async def test_a_limit_that_is_not_kept_is_named(asked: dict[str, int], updates: str) -> None:
    with pytest.raises(InvalidInput, match=updates):
        await Monitor().lineage("inference", "i", **asked)


async def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        await Monitor().read(ACME, LineageQuery(kind="inference", id="", direction=None, depth=99))

    assert [violation.field for violation in caught.value.violations] == ["depth", "id", "direction"]


async def test_a_derived_model_came_from_the_version_that_it_was_made_of() -> None:
    monitor, story = Monitor(), Story()
    story.record("trainer.model.version_registered", "m@1", version="m@1", model="m", digest="b" * 64)
    made = {"version": "small@1", "model": "small", "digest": "c" * 64, "derived_from": "m@1", "derivation": "d-1"}
    story.record("trainer.model.version_registered", "small@1", **made)
    await monitor.consume(story)

    lineage = await monitor.lineage("model_version", "small@1")

    assert shown_ids(lineage) == {"model_version": ["m@1", "small@1"]}


async def test_a_model_that_was_imported_came_from_nothing_else() -> None:
    monitor, story = Monitor(), Story()
    story.record("trainer.model.version_registered", "m@1", version="m@1", model="m", digest="b" * 64, base="", run="")
    await monitor.consume(story)

    lineage = await monitor.lineage("model_version", "m@1")

    assert shown_ids(lineage) == {"model_version": ["m@1"]}
    assert lineage.nodes[0].facts["state"] == "ready"


async def test_full_weights_came_from_the_model_that_their_run_began_with() -> None:
    monitor, story = Monitor(), Story()
    made = {"version": "whole@1", "model": "whole", "digest": "c" * 64, "run": "run-1", "finetuned_from": "m@1"}
    story.record("trainer.model.version_registered", "whole@1", **made, base="", dataset_version="sft@1")
    await monitor.consume(story)

    lineage = await monitor.lineage("model_version", "whole@1")

    shown = {"model_version": ["m@1", "whole@1"], "training_run": ["run-1"], "dataset_version": ["sft@1"]}
    assert shown_ids(lineage) == shown
