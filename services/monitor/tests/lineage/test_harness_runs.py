"""Runs of public harnesses come from the model and the deployment that answered."""

from services.monitor.tests.story import Story
from tidemill_monitor.lineage.domain.parts import updates_of


def test_a_run_comes_from_its_model_version_and_deployment() -> None:
    story = Story()
    facts = {"tool": "HARNESS_TOOL_LM_EVAL", "state": "HARNESS_RUN_STATE_COMPLETED", "passed": 41, "total": 48}
    story.record("evaluator.harness_run.recorded", "r1", run="r1", deployment="helpdesk", model="smollm2@1", **facts)

    (updates,) = updates_of(story.events[0].body, story.events[0].meta)

    assert {(edge.relation.name, edge.source) for edge in updates.sources} == {
        ("probed", "smollm2@1"),
        ("probed_deployment", "helpdesk"),
    }
    assert updates.part is not None
    assert updates.part.message == "helpdesk passed 41 of 48 tests by lm-eval"


def test_a_run_without_scores_says_why() -> None:
    story = Story()
    story.record(
        "evaluator.harness_run.recorded",
        "r1",
        run="r1",
        tool="HARNESS_TOOL_GARAK",
        deployment="helpdesk",
        state="HARNESS_RUN_STATE_FAILED",
        reason="HARNESS_MISSING",
    )

    (updates,) = updates_of(story.events[0].body, story.events[0].meta)

    assert updates.part is not None
    assert updates.part.message == "helpdesk had no scores: HARNESS_MISSING by garak"
