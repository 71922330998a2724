"""OAUTHBEARER, asked of a real broker with the validator that docs/guides/kafka.md names."""

import json
import time
from base64 import urlsafe_b64encode
from dataclasses import replace

import pytest
from joserfc.jwk import ECKey

from infra.local.tests.conftest import AUDIENCE, ISSUER, Broker
from tidemill_core.errors import DependencyUnavailable
from tidemill_core.transport_security import Secret
from tidemill_kit.events.consumer import ConsumerRunner
from tidemill_kit.events.engine import Engine
from tidemill_kit.events.kafka import Publisher, read_topic
from tidemill_kit.events.records import OutgoingRecord
from tidemill_kit.events.subscriptions import Delivery, Subscription

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]
OWN = OutgoingRecord(topic="tidemill.rag.index.v1", key=b"k", value=b"{}", headers=())
GROUP = Subscription(name="rag.things", topics=("tidemill.ingest.document.v1",), delivery=Delivery.ONCE, routes={})


async def test_the_subject_of_a_token_is_the_user_whom_acls_name(broker: Broker) -> None:
    servers = broker.token()
    publisher = Publisher(servers)
    await publisher.publish(OWN)
    with pytest.raises(DependencyUnavailable, match="does not let the token's subject do this"):
        await publisher.publish(replace(OWN, topic="tidemill.trainer.run.v1"))
    _ = [record async for record in read_topic(servers, "tidemill.ingest.document.v1")]
    member = ConsumerRunner(servers, Engine(GROUP, dead_letters=publisher))
    await member.start()
    await member.stop()
    await publisher.stop()


FOREIGN = ECKey.generate_key("P-256", {"kid": "one"})
REFUSED: dict[str, tuple[dict[str, object], ECKey | None]] = {
    "foreign key": ({}, FOREIGN),
    "foreign audience": ({"aud": "another"}, None),
    "foreign issuer": ({"iss": "https://another.example"}, None),
    "expired": ({"exp": int(time.time()) - 600}, None),
    "no subject": ({"sub": ""}, None),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_token_that_does_not_hold_is_refused(case: str, broker: Broker) -> None:
    changes, key = REFUSED[case]
    with pytest.raises(DependencyUnavailable) as raised:
        await Publisher(broker.token(key, **changes)).start()
    assert raised.value.message == (
        "Kafka refuses the token's subject by OAUTHBEARER: check the token, its issuer and audience"
    )


def unsigned() -> str:
    """Return a token that says all that a good one does, by the algorithm `none`."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "tidemill-rag", "scope": "", "iat": now, "exp": now + 600}
    parts = ({"alg": "none"}, claims)
    return ".".join(urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts) + "."


@pytest.mark.parametrize("text", ["none", "a.b.c", unsigned()], ids=["none", "no token", "unsigned"])
async def test_what_is_no_signed_token_is_refused(text: str, broker: Broker) -> None:
    with pytest.raises(DependencyUnavailable, match="check the token"):
        await Publisher(replace(broker.token(), token=Secret(text))).start()
