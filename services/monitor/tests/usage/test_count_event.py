from dataclasses import replace

from services.monitor.tests.story import a_turn
from tidemill_core.application import Caller
from tidemill_monitor.events.evaluator import EvaluationFailed
from tidemill_monitor.events.feedback import FeedbackRecorded
from tidemill_monitor.events.meta import EventMeta
from tidemill_monitor.metrics import ANSWERS, LOOP_EVENTS, NO_VERDICTS, REACTIONS, VERDICTS
from tidemill_monitor.usage.count_event import CountEvent
from tidemill_testkit.clocks import NOON
from tidemill_testkit.stack import unique_name


def test_events_are_counted_by_type_and_only_so_many_projects_by_name() -> None:
    count, story = CountEvent(max_projects=2), a_turn()
    projects = [unique_name("counted") for _ in range(3)]
    others = LOOP_EVENTS.labels("others", story.events[0].type)
    before = others._value.get()  # noqa: SLF001 - no other way
    for project in projects:
        for event in story.events:
            count(Caller(project=project), event.meta, event.body)

    answered = ANSWERS.labels(projects[0], "live", "candidate", "completed")._value.get()  # noqa: SLF001 - no other way
    assert answered == 1
    assert others._value.get() - before == 2  # noqa: SLF001 - two documents of the third project


def test_verdicts_are_counted_from_0_since_the_first_event_of_a_project() -> None:
    count, story, project = CountEvent(max_projects=1), a_turn(), unique_name("counted")

    count(Caller(project=project), story.events[0].meta, story.events[0].body)

    (counted,) = VERDICTS.collect()
    at_0 = {(each.labels["project"], each.labels["verdict"]) for each in counted.samples if each.value == 0}
    assert {(project, "worse"), (project, "not_worse")} <= at_0


def test_evaluations_without_a_verdict_are_counted_by_why_so_that_a_judge_that_drifted_raises_an_alert() -> None:
    count, project = CountEvent(max_projects=1), unique_name("counted")
    meta = EventMeta(type="tidemill.evaluator.evaluation.failed.v1", time=NOON)

    def counted() -> dict[str, float]:
        (found,) = NO_VERDICTS.collect()
        of_project = [each for each in found.samples if each.labels["project"] == project]
        return {each.labels["reason"]: each.value for each in of_project if each.name.endswith("_total")}

    count(Caller(project=project), meta, EvaluationFailed(evaluation="e1", seq=1, reason="BASELINE_CHANGED"))
    assert (counted()["JUDGE_DRIFTED"], counted()["others"]) == (0, 1)
    count(Caller(project=project), meta, EvaluationFailed(evaluation="e2", seq=1, reason="JUDGE_DRIFTED"))

    assert (counted()["JUDGE_DRIFTED"], counted()["others"]) == (1, 1)
    for reason in ("JUDGE_UNMEASURED", "JUDGE_DISAGREES"):  # a gate decides nothing until the judge is measured
        count(Caller(project=project), meta, EvaluationFailed(evaluation="e3", seq=1, reason=reason))
        assert (counted()[reason], counted()["others"]) == (1, 1)


def test_a_reaction_is_counted_if_it_counts_and_was_given() -> None:
    count, project = CountEvent(max_projects=1), unique_name("counted")
    meta = EventMeta(type="tidemill.feedback.feedback.recorded.v1", time=NOON)
    given = FeedbackRecorded(feedback="f1", seq=1, inference="i1", metric="rating")

    for each in (given, replace(given, counts=True), replace(given, counts=False), replace(given, absent=True)):
        count(Caller(project=project), meta, each)

    assert REACTIONS.labels(project, "rating")._value.get() == 2  # noqa: SLF001 - no other way
