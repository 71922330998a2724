import pytest

from services.monitor.tests.fakes import Monitor
from services.monitor.tests.story import Story, a_turn
from tidemill_monitor.errors import DeploymentUnknown, RolloutUnknown
from tidemill_monitor.lineage.domain.graph import NodeUpdate, Ref
from tidemill_monitor.lineage.domain.kinds import ALLOWED, COMPARED, ROLLED_OUT, ROLLS_OUT, Kind
from tidemill_monitor.lineage.domain.parts import sources_of

NUMBERS = "0.2050 -> 0.7290, difference +0.5240 [+0.4310, +0.6120], 48 cases, must be above 0"


async def test_the_story_of_a_rollout_goes_from_the_examples_to_the_promotion() -> None:
    monitor = Monitor()
    await monitor.consume(a_turn())

    timeline = await monitor.story_of("helpdesk", "ro-1")

    assert [
        (entry.event.removeprefix("tidemill.").removesuffix(".v1"), entry.message) for entry in timeline.entries
    ] == [
        ("feedback.curation.completed", "there are enough examples: 3, 3 of them new"),
        ("ingest.dataset.version_published", "helpdesk_sft@1 is published: 140 examples to train on, 60 held out"),
        ("trainer.run.queued", "training of helpdesk_lora on helpdesk_sft@1 waits for its turn"),
        ("trainer.model.version_registered", "helpdesk_lora@1 is registered"),
        ("trainer.run.succeeded", "helpdesk_lora@1 is trained: 74 s, loss 0.413"),
        ("evaluator.evaluation.started", "helpdesk_lora@1 is compared with what is live"),
        (
            "evaluator.evaluation.completed",
            f"helpdesk_lora@1 passes the gate helpdesk_gate: rouge_l {NUMBERS}: holds",
        ),
        ("inference.rollout.started", "the rollout of helpdesk_lora@1 begins"),
        ("inference.rollout.advanced", "shadow, step 1: 0 of 10 requests"),
        ("inference.rollout.advanced", "canary, step 2, 50 % of the requests"),
        ("inference.rollout.promoted", "helpdesk_lora@1 is promoted and live: every step was passed"),
        ("inference.deployment.configured", "helpdesk_lora@1 with answer@2 answers"),
    ]
    compared = timeline.entries[5].facts
    assert (compared["baseline"], compared["baseline_configuration"]) == ("smollm2@1", "c" * 64)
    canary = timeline.entries[9]
    assert (canary.facts["state"], canary.facts["weight"], canary.facts["step"]) == ("canary", 50, 1)
    assert not timeline.cut


async def test_the_story_of_a_deployment_includes_what_came_to_nothing_too() -> None:
    monitor, story = Monitor(), a_turn()
    story.curate(seq=2, examples=[])
    withheld = {"dataset": "helpdesk_sft", "curation": "helpdesk_sft", "curation_seq": "2", "reason": "UNCHANGED"}
    story.record("ingest.dataset.version_withheld", "helpdesk_sft", seq=2, **withheld, message="nothing is new")
    story.evaluate("ev-2", verdict="VERDICT_FAILED")
    refused = {"reason": "ROLLOUT_ACTIVE", "message": "another rollout is on its way"}
    story.roll("refused", seq=7, rollout="ro-2", **refused)
    story.roll("rolled_back", seq=8, rollout="ro-3", reason="RATING", message="")
    await monitor.consume(story)

    whole = [entry.message for entry in (await monitor.story_of("helpdesk")).entries]
    one = [entry.message for entry in (await monitor.story_of("helpdesk", "ro-1")).entries]

    assert whole[0] == "smollm2@1 with answer@2 answers"
    assert whole[-5:] == [
        "no new version of helpdesk_sft: nothing is new",
        "helpdesk_lora@1 is compared with what is live",
        f"helpdesk_lora@1 fails the gate helpdesk_gate: rouge_l {NUMBERS}: does not hold",
        "no rollout of helpdesk_lora@1: another rollout is on its way",
        "helpdesk_lora@1 is rolled back: RATING",
    ]
    assert not {message for message in one if "fails" in message or "refused" in message}


async def test_a_run_and_an_evaluation_that_failed_say_why() -> None:
    monitor, story = Monitor(), Story()
    story.curate(seq=1, examples=[])
    story.publish()
    run = {"run": "run-1", "plan": "helpdesk_lora", "dataset_version": "helpdesk_sft@1"}
    story.record("trainer.run.failed", "run-1", **run, reason="OUT_OF_MEMORY", message="needs 9 GB of 6 GB")
    evaluation = {"evaluation": "ev-1", "gate": "g", "deployment": "helpdesk", "candidate": "m@1", "baseline": "c"}
    story.record("evaluator.evaluation.failed", "ev-1", **evaluation, reason="BASELINE_CHANGED", message="")
    await monitor.consume(story)

    assert [entry.message for entry in (await monitor.story_of("helpdesk")).entries][-2:] == [
        "training of helpdesk_lora produced no model version: needs 9 GB of 6 GB",
        "the evaluation of m@1 came to no verdict: BASELINE_CHANGED",
    ]


async def test_a_long_story_loses_its_beginning_and_says_so() -> None:
    monitor = Monitor(max_entries=3)
    await monitor.consume(a_turn())

    timeline = await monitor.story_of("helpdesk")

    assert [entry.event.split(".")[-2] for entry in timeline.entries] == ["advanced", "promoted", "configured"]
    assert timeline.cut


async def test_of_a_long_story_the_newest_is_reported_whatever_its_ids_are() -> None:
    monitor, story = Monitor(max_entries=3), Story()
    for name in "uvwxyz":
        story.evaluate(f"ev-{name}", candidate=f"{name}@1")
    await monitor.consume(story)

    timeline = await monitor.story_of("helpdesk")

    assert [entry.facts["candidate"] for entry in timeline.entries] == ["y@1", "z@1", "z@1"]
    assert timeline.cut


@pytest.mark.parametrize("rollout", ["", "ro-1"])
async def test_a_story_says_that_what_a_deployment_was_before_is_left_out(rollout: str) -> None:
    monitor, story = Monitor(max_entries=2), Story()
    story.roll("started", seq=1)
    for seq in range(2, 8):
        story.configure(seq=seq, model=f"m@{seq}", configuration=str(seq))
    await monitor.consume(story)

    timeline = await monitor.story_of("helpdesk", rollout)

    assert timeline.cut
    [deployment] = (await monitor.graph.nodes("acme", [Ref(Kind.DEPLOYMENT, "helpdesk")])).values()
    assert [part.facts["model"] for part in deployment.parts] == ["m@5", "m@6", "m@7"]


@pytest.mark.parametrize("rollout", ["", "ro-1"])
async def test_a_story_says_when_there_is_more_than_is_checked(rollout: str) -> None:
    monitor, story = Monitor(max_entries=1), Story()
    story.roll("started", seq=1)
    for number in range(6):  # of neither kind too many, and none of them has an entry of its own
        evaluation, other = Ref(Kind.EVALUATION, f"ev-{number}"), Ref(Kind.ROLLOUT, f"ro-1{number}")
        candidate, asked = (ROLLED_OUT, f"m@{number}"), Ref(Kind.ROLLOUT, "ro-1")
        updates = [
            NodeUpdate(ref=evaluation, sources=sources_of(evaluation, (COMPARED, "helpdesk"))),
            NodeUpdate(ref=other, sources=sources_of(other, (ROLLS_OUT, "helpdesk"))),
            NodeUpdate(ref=asked, sources=sources_of(asked, (ALLOWED, evaluation.id), candidate)),
        ]
        await monitor.graph.record("acme", updates)
    await monitor.consume(story)

    assert (await monitor.story_of("helpdesk", rollout)).cut


async def test_a_deployment_or_rollout_that_was_never_reported_is_not_found() -> None:
    monitor = Monitor()
    with pytest.raises(DeploymentUnknown):
        await monitor.story_of("helpdesk")
    await monitor.consume(a_turn())
    with pytest.raises(RolloutUnknown):
        await monitor.story_of("helpdesk", "ro-9")
    with pytest.raises(RolloutUnknown):
        await monitor.story_of("elsewhere", "ro-1")
