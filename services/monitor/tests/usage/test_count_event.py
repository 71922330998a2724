from services.monitor.tests.story import a_turn
from tidemill_core.application import Caller
from tidemill_monitor.metrics import ANSWERS, LOOP_EVENTS
from tidemill_monitor.usage.count_event import CountEvent
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
