"""Submissions on a real broker: of the shared topic and of the sources' own, each proven before it counts."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from libs.kit.tests.events.harness import LIMITS, QUICK, Bench, Effects, Line, Upstream, dead_letters_of, event_headers
from tidemill_client.publishing import Publisher
from tidemill_kit.access.submissions import SubmissionCheck, source_topic
from tidemill_kit.access.tokens import AUDIENCE, EVENTS, signed
from tidemill_kit.events.dead_letters import DeadLetters
from tidemill_kit.events.kafka import Consumers, read_topic
from tidemill_kit.events.subscriptions import EventContext, Subscription
from tidemill_testkit.access import TestIssuer, access_of
from tidemill_testkit.polling import eventually

SOURCE = "https://tests.example"
HOUR = 3600.0


def publisher_of(issuer: TestIssuer) -> Publisher:
    made = Publisher.generate()
    claims = issuer.claims(
        "acme", subject="service_account:cms", public_key=made.public_key, issue_time=time.time() - 5 * HOUR
    )
    return replace(made, certificate=signed(claims, issuer.key, audience=AUDIENCE + EVENTS))


def consumers_of(bench: Bench, subscription: Subscription) -> Consumers:
    parts = (bench.topics.bootstrap, [subscription], bench.publisher)
    return Consumers(*parts, engine_limits=QUICK, consumer_limits=LIMITS)


async def test_records_count_that_their_topic_or_signature_proves(
    bench: Bench, upstream: Upstream, tmp_path: Path
) -> None:
    issuer, effects = TestIssuer(tmp_path), Effects()
    own = await bench.topics.make(source_topic(bench.topic, "acme", SOURCE))
    check = SubmissionCheck((bench.topic,), access_of(issuer).authenticator, tolerance_s=300)
    proven = replace(bench.subscription(effects.write), verify=check)
    consumers = Consumers(
        bench.topics.bootstrap, [proven], bench.publisher, engine_limits=QUICK, consumer_limits=LIMITS
    )
    await upstream.write(bench.topic, [1])
    await upstream.write(own, [2])
    await upstream.write(own, [3], project="globex")
    value = b'{"number": 4}'
    headers = {name: text.decode() for name, text in event_headers("signed", "kb/1")}
    headers |= publisher_of(issuer).headers(value, headers)
    await upstream.raw(bench.topic, value, [(name, text.encode()) for name, text in headers.items()])

    await consumers.start()
    await eventually(lambda: sorted(effects.numbers) == [2, 4])
    await eventually(lambda: consumers.status()[0].dead_lettered == 2)
    await consumers.stop()

    letters = await dead_letters_of(bench)
    assert {(letter.origin.topic, letter.reason) for letter in letters} == {
        (bench.topic, "SIGNATURE_MISSING"),
        (own, "TOPIC_OF_ANOTHER_SOURCE"),
    }


async def test_a_signed_dead_letter_is_redriven_hours_later(bench: Bench, upstream: Upstream, tmp_path: Path) -> None:
    issuer, effects, repaired = TestIssuer(tmp_path), Effects(), False
    check = SubmissionCheck((bench.topic,), access_of(issuer).authenticator, tolerance_s=60)

    async def handle(context: EventContext, line: Line) -> None:
        if not repaired:
            Line.model_validate({"number": "no number"})
        await effects.write(context, line)

    proven = replace(bench.subscription(handle), verify=check)
    consumers = Consumers(
        bench.topics.bootstrap, [proven], bench.publisher, engine_limits=QUICK, consumer_limits=LIMITS
    )
    value, then = b'{"number": 5}', time.time() - 4 * HOUR
    headers = {name: text.decode() for name, text in event_headers("signed", "kb/1")}
    headers |= publisher_of(issuer).headers(value, headers, now=then)
    raw = [(name, text.encode()) for name, text in headers.items()]
    await upstream.producer.send_and_wait(bench.topic, value, key=b"k", headers=raw, timestamp_ms=int(then * 1000))
    await consumers.start()
    await eventually(lambda: consumers.status()[0].dead_lettered == 1)
    (letter,) = await dead_letters_of(bench)

    repaired = True
    letters = DeadLetters(partial(read_topic, bench.topics.bootstrap), bench.publisher)
    await letters.redrive(bench.dead_letter_topic, partition=letter.partition, offset=letter.offset)
    await eventually(lambda: effects.numbers == [5])
    await consumers.stop()
