"""Submissions prove their publisher by their topic or by a signature; whatever else is done to them, none is taken."""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from libs.kit.tests.access.support import revocation
from tidemill_client.publishing import Publisher
from tidemill_core.errors import DependencyUnavailable, TidemillError
from tidemill_core.signed_events import signed_text
from tidemill_kit.access.credentials import Credentials
from tidemill_kit.access.errors import CredentialInvalid
from tidemill_kit.access.submissions import SubmissionCheck, source_name, source_topic
from tidemill_kit.access.tokens import AUDIENCE, EVENTS, signed
from tidemill_kit.events.cloudevents import from_record
from tidemill_kit.events.dead_letters import dead_letter
from tidemill_kit.events.engine import Engine
from tidemill_kit.events.records import OutgoingRecord
from tidemill_kit.events.subscriptions import Delivery, EventContext, Refusal, Route, Subscription
from tidemill_testkit.access import TestIssuer, access_of

TOPIC, SOURCE = "tidemill.ingest.submission.v1", "https://cms.acme.example/kb"
BODY = json.dumps({"text": "Reset it."}).encode()
TYPE = "upserted"
HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A record as Kafka has it. Implements `Record`."""

    topic: str = TOPIC
    partition: int = 0
    offset: int = 0
    timestamp: int
    key: bytes | None = b"kb/1"
    value: bytes | None = BODY
    headers: tuple[tuple[str, bytes], ...]

    def having(self, **changed: str | None) -> "Sent":
        """Return it with other headers (`_` for `-`); None takes one away."""
        names = {name.replace("_", "-") if not name.startswith("ce_") else name: text for name, text in changed.items()}
        kept = [(name, raw) for name, raw in self.headers if name not in names]
        return replace(
            self, headers=(*kept, *((name, text.encode()) for name, text in names.items() if text is not None))
        )


class Installation:
    """An issuer, a publisher of project acme, and the check of a service."""

    def __init__(self, folder: Path) -> None:
        self.issuer = TestIssuer(folder)
        self.access = access_of(self.issuer)
        self.check = SubmissionCheck((TOPIC,), self.access.authenticator, tolerance_s=300)
        self.publisher = self.publisher_of("acme")

    def publisher_of(self, project: str, *, audience: str = AUDIENCE + EVENTS, **claims: Any) -> Publisher:  # noqa: ANN401 - of any claim
        made = Publisher.generate()
        begun = {"subject": "service_account:cms", "issue_time": time.time() - 5 * HOUR}
        given = {"public_key": made.public_key, **begun, **claims}
        certificate = signed(self.issuer.claims(project, **given), self.issuer.key, audience=audience)
        return replace(made, certificate=certificate)

    def sent(
        self,
        publisher: Publisher | None = None,
        *,
        project: str = "acme",
        value: bytes = BODY,
        signed_at_s: float = 0,
        arrived_at_s: float = 0,
    ) -> Sent:
        """Return a record; its times are seconds from now."""
        headers = {
            "ce_specversion": "1.0",
            "ce_id": "e1",
            "ce_type": TYPE,
            "ce_source": SOURCE,
            "ce_subject": "kb/1",
            "ce_project": project,
            "content-type": "application/json",
        }
        now = time.time()
        headers |= (publisher or self.publisher).headers(value, headers, now=now + signed_at_s)
        raw = tuple((name, text.encode()) for name, text in headers.items())
        return Sent(timestamp=int((now + arrived_at_s) * 1000), headers=raw, value=value)

    async def reason(self, record: Sent) -> str:
        """Return why a record is refused, "" where it is not."""
        from_sent = from_record(record.value, record.headers, arrive_time=datetime.now(UTC))
        try:
            await self.check(from_sent, record)
        except TidemillError as error:
            return error.reason
        return ""


@pytest.fixture
def installed(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


async def test_a_signed_record_is_taken_again_and_again(installed: Installation) -> None:
    record = installed.sent()
    assert await installed.reason(installed.sent(signed_at_s=-4 * HOUR, arrived_at_s=-4 * HOUR)) == ""

    assert [await installed.reason(record) for _ in range(2)] == ["", ""]
    assert await installed.reason(installed.sent(installed.publisher_of("acme", event_source=SOURCE))) == ""
    assert (
        await installed.reason(installed.sent(installed.publisher_of("*", roles=frozenset({"installation_admin"}))))
        == ""
    )


ATTACKS: dict[str, Callable[[Installation], Sent]] = {
    "another body": lambda i: replace(i.sent(), value=b'{"text": "Evil."}'),
    "another project's name": lambda i: i.sent().having(ce_project="globex"),
    "another project's name, signed": lambda i: i.sent(project="globex"),
    "another project's key": lambda i: i.sent(i.publisher_of("globex")),
    "a key for another source": lambda i: i.sent(i.publisher_of("acme", event_source="https://crm.acme.example")),
    "another subject": lambda i: i.sent().having(ce_subject="kb/2"),
    "another type": lambda i: i.sent().having(ce_type="deleted"),
    "another source": lambda i: i.sent().having(ce_source="https://crm.acme.example"),
    "another time": lambda i: i.sent().having(ce_time="2027-01-01T00:00:00Z"),
    "another id": lambda i: i.sent().having(ce_id="e2"),
    "another id in both": lambda i: i.sent().having(ce_id="e2", webhook_id="e2"),
    "the certificate of another key": lambda i: i.sent(replace(i.publisher, key=Publisher.generate().key)),
    "no signature at all in it": lambda i: i.sent().having(webhook_signature="v1a,"),
    "the signature of another scheme": lambda i: i.sent().having(webhook_signature="v1,c2lnbmF0dXJl"),
    "a signature that is no base64": lambda i: i.sent().having(webhook_signature="v1a,%%%"),
    "a certificate that is an API key": lambda i: i.sent(i.publisher_of("acme", audience=AUDIENCE)),
    "a certificate without a key": lambda i: i.sent(i.publisher_of("acme", public_key="")),
    "a certificate of a weak key": lambda i: i.sent(i.publisher_of("acme", public_key="AA")),
    "an expired certificate": lambda i: i.sent(i.publisher_of("acme", expire_time=time.time() - HOUR)),
    "a certificate that begins later": lambda i: i.sent(i.publisher_of("acme", issue_time=time.time() + HOUR)),
    "a foreign certificate": lambda i: i.sent(Installation(i.issuer.file.parent).publisher),
    "a certificate that is none": lambda i: i.sent().having(tidemill_publisher="a.b.c"),
    "a header's id of its own": lambda i: i.sent().having(webhook_id="e9"),
    "signed an hour before it came": lambda i: i.sent(signed_at_s=-HOUR),
    "copied an hour later": lambda i: i.sent(signed_at_s=-2 * HOUR, arrived_at_s=-HOUR),
    "signed by a clock an hour ahead": lambda i: i.sent(signed_at_s=HOUR),
    "a record of tomorrow": lambda i: i.sent(signed_at_s=24 * HOUR, arrived_at_s=24 * HOUR),
    "a record from before its certificate": lambda i: i.sent(signed_at_s=-9 * HOUR, arrived_at_s=-9 * HOUR),
    "a stamp that is no number": lambda i: i.sent().having(webhook_timestamp="soon"),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_no_changed_or_foreign_record_is_taken(installed: Installation, attack: str) -> None:
    assert await installed.reason(ATTACKS[attack](installed)) == "SIGNATURE_INVALID"


@pytest.mark.parametrize("name", ["webhook_id", "webhook_timestamp", "webhook_signature", "tidemill_publisher"])
async def test_a_record_without_one_of_the_headers_is_unsigned(installed: Installation, name: str) -> None:
    record = installed.sent()
    twice = replace(
        record, headers=(*record.headers, *((n, v) for n, v in record.headers if n == name.replace("_", "-")))
    )

    assert await installed.reason(record.having(**{name: None})) == "SIGNATURE_MISSING"
    assert await installed.reason(twice) == "SIGNATURE_MISSING"


async def test_a_revoked_key_counts_no_more(installed: Installation) -> None:
    claims = installed.issuer.claims("acme", public_key=installed.publisher.public_key, subject="service_account:cms")
    publisher = replace(
        installed.publisher, certificate=signed(claims, installed.issuer.key, audience=AUDIENCE + EVENTS)
    )
    assert await installed.reason(installed.sent(publisher)) == ""

    installed.access.revocations.apply(revocation("KEY", "acme", claims.id))

    assert await installed.reason(installed.sent(publisher)) == "SIGNATURE_INVALID"


async def test_a_structured_event_is_signed_as_it_is(installed: Installation) -> None:
    envelope = {
        "specversion": "1.0",
        "id": "e1",
        "type": TYPE,
        "source": SOURCE,
        "subject": "kb/1",
        "project": "acme",
        "data": {"text": "A"},
    }
    value = json.dumps(envelope).encode()
    record = installed.sent()
    stamp = str(record.timestamp // 1000)
    signature = base64.b64encode(installed.publisher.key.sign(signed_text("e1", stamp, value, None))).decode()
    headers = {
        "content-type": "application/cloudevents+json",
        "webhook-id": "e1",
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1a,{signature}",
        "tidemill-publisher": installed.publisher.certificate,
    }
    raw = tuple((name, text.encode()) for name, text in headers.items())

    assert await installed.reason(replace(record, value=value, headers=raw)) == ""
    changed = replace(record, value=value.replace(b"kb/1", b"kb/2"), headers=raw)
    assert await installed.reason(changed) == "SIGNATURE_INVALID"


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        (source_topic(TOPIC, "acme", SOURCE), ""),
        (source_topic(TOPIC, "globex", SOURCE), "TOPIC_OF_ANOTHER_SOURCE"),
        (source_topic(TOPIC, "acme", "https://crm.acme.example"), "TOPIC_OF_ANOTHER_SOURCE"),
        ("tidemill.feedback.submission.v1", "TOPIC_OF_ANOTHER_SOURCE"),
    ],
)
async def test_the_topic_of_a_source_proves_it_alone(installed: Installation, topic: str, reason: str) -> None:
    unsigned = installed.sent().having(webhook_signature=None)

    assert await installed.reason(replace(unsigned, topic=topic)) == reason


def test_topics_name_sources_by_letters_digits_and_hyphens() -> None:
    assert source_name("https://cms.acme.example/kb/") == "cms-acme-example-kb"
    assert source_topic(TOPIC, "acme", "CRM") == f"{TOPIC}.acme.crm"


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str


class Effects:
    """What a subscription did, and where its dead letters go."""

    def __init__(self) -> None:
        self.handled: list[str] = []
        self.refused: list[str] = []
        self.letters: list[OutgoingRecord] = []

    async def handle(self, context: EventContext, _body: Body) -> None:
        self.handled.append(context.id)

    async def refuse(self, refusal: Refusal) -> None:
        self.refused.append(refusal.error.reason)

    async def publish(self, record: OutgoingRecord) -> None:
        self.letters.append(record)

    def engine(self, check: SubmissionCheck) -> Engine:
        subscription = Subscription(
            name="ingest.submissions",
            topics=(TOPIC,),
            delivery=Delivery.ONCE,
            routes={TYPE: Route(Body, self.handle)},
            strict=True,
            verify=check,
            refused=self.refuse,
        )
        return Engine(subscription, dead_letters=self)

    @property
    def reasons(self) -> list[str]:
        return [dict(letter.headers)["tidemill_dead_reason"].decode() for letter in self.letters]


async def test_what_is_not_proven_is_a_dead_letter_and_nothing_else_is_done_with_it(installed: Installation) -> None:
    effects, unsigned = Effects(), installed.sent().having(webhook_signature=None)
    engine = effects.engine(installed.check)
    forged_and_broken = replace(unsigned, value=b"no JSON", offset=1)
    no_event = replace(unsigned.having(ce_type=None), offset=2)
    window = engine.take([unsigned, forged_and_broken, no_event])
    assert await window.wait(10)

    assert (effects.handled, effects.refused) == ([], [])
    assert sorted(effects.reasons) == ["INVALID_EVENT", "SIGNATURE_MISSING", "SIGNATURE_MISSING"]


async def test_a_dead_letter_is_redriven_with_the_time_that_it_was_signed_for(installed: Installation) -> None:
    record = installed.sent()
    letter = dead_letter(
        record, topic="dead", consumer="c", error=DependencyUnavailable("x", dependency="y"), attempts=1
    )

    assert dict(letter.headers)["tidemill_dead_timestamp"] == str(record.timestamp).encode()


async def test_a_certificate_is_no_credential_of_any_api(installed: Installation) -> None:
    with pytest.raises(CredentialInvalid):
        await installed.access.authenticator.authenticate(
            Credentials(token=installed.publisher.certificate, project="")
        )
