"""What becomes of the records of one poll, without a broker."""

import asyncio
from typing import SupportsIndex

import pytest
from pydantic import field_validator

from libs.kit.tests.events.engine_harness import Given, Harness, events_counted, line
from libs.kit.tests.events.harness import QUICK, WRITTEN, Effects, FlakyPublisher, Line, StrictLine, event_headers
from tidemill_core.errors import (
    Conflict,
    DependencyTimedOut,
    DependencyUnavailable,
    NotFound,
    Overloaded,
    RateLimited,
    TidemillError,
)
from tidemill_kit.events.engine import Engine
from tidemill_kit.events.records import OutgoingRecord, Partition, RecordRefused
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription
from tidemill_kit.events.window import WindowLimits
from tidemill_kit.runtime import telemetry
from tidemill_testkit.polling import eventually

TRACE = "0af7651916cd43dd8448eb211c80319c"


async def test_unknown_types_are_counted_and_passed_over() -> None:
    before = events_counted(outcome="unknown", ce_type="")
    harness = Harness()
    await harness.handle(line(0, 0, type="tests.line.unheard.v1"), line(1, 1))

    assert harness.effects.numbers == [1]
    assert harness.publisher.published == []
    assert events_counted(outcome="unknown", ce_type="") == before + 1


@pytest.mark.parametrize(
    "error",
    [
        DependencyUnavailable("it is down", dependency="trainer"),
        DependencyTimedOut("it hangs", dependency="trainer"),
        RateLimited("slowly", retry_after_s=0.01),
        Overloaded("slowly", retry_after_s=0.01),
    ],
)
async def test_what_passes_by_itself_is_waited_for_however_often_it_fails(error: Exception) -> None:
    harness = Harness(raised=[error for _ in range(4 * QUICK.attempts)])
    await harness.handle(line(0, 0))

    assert harness.effects.numbers == [0]
    assert harness.reasons == []


@pytest.mark.parametrize("error", [Conflict("another was faster"), OSError("broken pipe")])
async def test_what_may_pass_is_tried_a_few_times(error: Exception) -> None:
    patient = Harness(raised=[error, error])
    await patient.handle(line(0, 0))
    assert patient.effects.numbers == [0]

    hopeless = Harness(raised=[error, error, error])
    await hopeless.handle(line(0, 0), line(1, 1))
    assert hopeless.effects.numbers == [1]
    assert hopeless.reasons == [error.reason if isinstance(error, TidemillError) else "INTERNAL"]


async def test_a_handler_in_which_native_code_panics_ends_its_own_event_only() -> None:
    class PanicException(BaseException):
        pass

    harness = Harness(raised=[PanicException(), PanicException(), PanicException()])
    await harness.handle(line(0, 0), line(1, 1))

    assert harness.effects.numbers == [1]
    assert harness.reasons == ["INTERNAL"]


async def test_a_body_at_which_the_parser_panics_is_dead_lettered_and_the_records_behind_it_go_on() -> None:
    class PanicException(BaseException):
        pass

    class Fragile(Line):
        @field_validator("text")
        @classmethod
        def parse(cls, text: str) -> str:
            if text:
                raise PanicException
            return text

    effects, publisher = Effects(), FlakyPublisher(failures=0)
    routes = {WRITTEN: Route(Fragile, effects.write)}
    subscription = Subscription(name="tests.fragile", topics=("tests",), delivery=Delivery.ONCE, routes=routes)
    engine = Engine(subscription, dead_letters=publisher, limits=QUICK)
    broken = Given(offset=0, value=b'{"text": "secret"}', headers=event_headers("e0", "kb/1"))
    window = engine.take([broken, line(1, 1)])
    assert await window.wait(5)

    assert effects.numbers == [1]
    headers = dict(publisher.published[0].headers)
    assert headers["tidemill_dead_reason"] == b"INVALID_BODY"
    assert headers["tidemill_dead_message"] == b"body: cannot be read (NativePanic): publish it again"
    assert publisher.published[0].value == broken.value
    assert window.committable() == {Partition("tests", 0): 2}


async def test_what_cannot_pass_is_dead_lettered_at_once_after_it_was_reported() -> None:
    harness = Harness(raised=[NotFound("there is no source kb in this project")])
    await harness.handle(line(0, 0, event_id="e0"))

    (refusal,) = harness.refusals
    assert refusal.named
    assert (refusal.id, refusal.subject, refusal.project, refusal.error.reason) == ("e0", "kb/1", "acme", "NOT_FOUND")
    (letter,) = harness.publisher.published
    assert letter.topic == "tidemill.tests.engine.dead.v1"
    headers = {name: value.decode() for name, value in letter.headers if name.startswith("tidemill_dead_")}
    headers.pop("tidemill_dead_time")
    assert headers == {
        "tidemill_dead_consumer": "tests.engine",
        "tidemill_dead_reason": "NOT_FOUND",
        "tidemill_dead_message": "there is no source kb in this project",
        "tidemill_dead_topic": "tests",
        "tidemill_dead_partition": "0",
        "tidemill_dead_offset": "0",
        "tidemill_dead_timestamp": "0",
        "tidemill_dead_attempts": "1",
    }


async def test_a_refusal_names_what_could_be_read() -> None:
    harness = Harness()
    without_type = [header for header in event_headers("e0", "kb/1") if header[0] != "ce_type"]
    without_project = [header for header in event_headers("e1", "kb/1") if header[0] != "ce_project"]
    await harness.handle(Given(offset=0, headers=without_type), Given(offset=1, headers=without_project))

    assert sorted((refusal.id, refusal.named) for refusal in harness.refusals) == [("e0", True), ("e1", False)]


async def test_a_body_is_refused_by_field_and_never_quoted() -> None:
    harness = Harness()
    await harness.handle(
        Given(offset=0, value=b'{"number": "secret text"}', headers=event_headers("e0", "kb/1")),
        Given(offset=1, value=b"\xff\xfe", headers=event_headers("e1", "kb/1")),
        Given(offset=2, value=b"[" * 100_000, headers=event_headers("e2", "kb/1")),
    )

    assert harness.reasons == ["INVALID_BODY"] * 3
    message = dict(harness.publisher.published[0].headers)["tidemill_dead_message"].decode()
    assert message.startswith("number: ")
    assert "secret" not in message


async def test_the_name_of_an_unknown_field_is_reported_only_if_it_is_a_name() -> None:
    effects, publisher = Effects(), FlakyPublisher(failures=0)
    routes = {WRITTEN: Route(StrictLine, effects.write)}
    subscription = Subscription(
        name="tests.names", topics=("tests",), delivery=Delivery.ONCE, routes=routes, strict=True
    )
    engine = Engine(subscription, dead_letters=publisher, limits=QUICK)
    body = b'{"colour": 1, "jane.roe@example.com": 1, "+49 151 1234": 1}'
    assert await engine.take([Given(offset=0, value=body, headers=event_headers("e", "s"))]).wait(5)

    message = dict(publisher.published[0].headers)["tidemill_dead_message"].decode()
    assert "colour: " in message
    assert "<20 characters, sha256 " in message
    assert "jane" not in message
    assert "151" not in message


async def test_numbers_come_as_text_and_unknown_fields_pass_unless_the_subscription_is_strict() -> None:
    harness = Harness()
    await harness.handle(
        Given(offset=0, value=b'{"number": "9007199254740993", "new": 1}', headers=event_headers("e", "s"))
    )
    assert harness.effects.numbers == [9007199254740993]

    with pytest.raises(ValueError, match="strict"):
        Subscription(
            name="tests.strict",
            topics=("tests",),
            delivery=Delivery.ONCE,
            routes={WRITTEN: Route(StrictLine, harness.effects.write)},
        )


async def test_a_dead_letter_is_written_in_the_end_however_often_that_fails() -> None:
    harness = Harness(publisher=FlakyPublisher(failures=20))
    await harness.handle(Given(offset=0, value=b"{", headers=event_headers("e0", "kb/1")))

    assert harness.reasons == ["INVALID_BODY"]


async def test_while_a_dependency_is_down_the_record_waits_and_is_let_go_at_once() -> None:
    down = DependencyUnavailable("MongoDB does not answer", dependency="mongodb")
    harness = Harness(raised=[down] * 1000)
    engine = harness.engine()
    window = engine.take([line(0, 0), line(1, 1)])
    await eventually(lambda: engine.waiting_for == "mongodb")

    await window.release(5)

    assert engine.waiting_for == ""
    assert window.committable() == {}
    assert window.left_over() == {Partition("tests", 0): 0}
    assert harness.publisher.published == []


async def test_a_handler_that_meets_a_cancelled_task_is_run_again_and_its_record_is_not_passed_over() -> None:
    async def handle(context: EventContext, body: Line) -> None:
        runs.append(body.number)
        if runs.count(1) < 2 * QUICK.attempts and body.number == 1:
            shared = asyncio.create_task(asyncio.Event().wait())
            shared.cancel()
            await shared
        await effects.write(context, body)

    runs, effects = list[int](), Effects()
    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.cancelled", topics=("tests",), delivery=Delivery.ONCE, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK)
    window = engine.take([line(0, 0, subject="a"), line(1, 1, subject="b"), line(2, 2, subject="c")])
    await eventually(lambda: engine.waiting_for == "handler")
    assert window.committable() == {Partition("tests", 0): 1}
    assert await window.wait(10)

    assert effects.numbers == [0, 2, 1]
    assert window.committable() == {Partition("tests", 0): 3}


async def test_a_record_at_which_the_engine_itself_fails_is_tried_again() -> None:
    class Failing(FlakyPublisher):
        async def publish(self, record: OutgoingRecord) -> None:
            if self.failures:
                self.failures -= 1
                message = "a defect in our own code"
                raise LookupError(message)
            self.published.append(record)

    publisher = Failing(failures=QUICK.attempts)
    harness = Harness(publisher=publisher)
    engine = harness.engine()
    window = engine.window(WindowLimits(pause_after_failure_s=0.01))
    window.add(engine.pending_records([Given(offset=0, value=b"{", headers=event_headers("e0", "kb/1")), line(1, 1)]))
    assert await window.wait(10)

    assert harness.effects.numbers == [1]
    assert window.committable() == {Partition("tests", 0): 2}
    assert harness.reasons == ["INVALID_BODY"]


async def test_a_record_too_large_for_the_dead_letters_leaves_its_size_and_digest() -> None:
    class Full(FlakyPublisher):
        async def publish(self, record: OutgoingRecord) -> None:
            if record.value:
                message = "too large"
                raise RecordRefused(message)
            self.published.append(record)

    harness = Harness(publisher=Full(failures=0))
    await harness.handle(Given(offset=0, value=b"{" * 1000, headers=event_headers("e0", "kb/1")))

    (letter,) = harness.publisher.published
    reported = dict(letter.headers)
    assert letter.value == b""
    assert (reported["tidemill_dead_value_size"], len(reported["tidemill_dead_value_sha256"])) == (b"1000", 64)


async def test_the_trace_of_the_record_goes_on_in_the_handler() -> None:
    traces: list[str] = []

    async def handle(_context: EventContext, _body: Line) -> None:
        traces.append(telemetry.trace_id())

    routes = {WRITTEN: Route(Line, handle)}
    subscription = Subscription(name="tests.trace", topics=("tests",), delivery=Delivery.ONCE, routes=routes)
    engine = Engine(subscription, dead_letters=FlakyPublisher(failures=0), limits=QUICK)
    window = engine.take([line(0, 0, traceparent=f"00-{TRACE}-b7ad6b7169203331-01")])
    assert await window.wait(5)

    assert traces == [TRACE]


async def test_records_of_a_deleted_project_are_dropped_and_those_of_others_handled() -> None:
    before = events_counted(outcome="dropped")
    harness = Harness(deleted={"acme"})
    await harness.handle(line(0, 0), line(1, 1, project="globex"))

    assert harness.effects.numbers == [1]
    assert harness.reasons == []
    assert events_counted(outcome="dropped") == before + 1


async def test_a_subscription_of_deleted_projects_handles_their_records() -> None:
    harness = Harness(deleted={"acme"}, of_deleted=True)
    await harness.handle(line(0, 0))

    assert harness.effects.numbers == [0]


async def test_a_record_that_waits_while_its_project_is_deleted_has_no_effect_any_more() -> None:
    harness = Harness()

    class Failures(list[BaseException]):
        def pop(self, _: SupportsIndex = -1) -> BaseException:
            harness.deleted.add("acme")
            return super().pop()

    errors = [DependencyUnavailable("it is down", dependency="trainer"), NotFound("its source is gone")]
    for offset, error in enumerate(errors):
        harness.deleted.clear()
        harness.raised = Failures([error])
        await harness.handle(line(offset, 0))

        assert harness.effects.numbers == []
        assert harness.reasons == []
