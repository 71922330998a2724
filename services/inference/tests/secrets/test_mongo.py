"""Secrets in a real store: read as they were written, and found while another key encrypts them."""

from collections.abc import AsyncIterator

import pytest

from services.inference.tests.secrets.keeping import API, CANARY, NEW_KEY, OLD_KEY
from tidemill_core.application import Request
from tidemill_core.envelope import Envelope
from tidemill_core.origins import Origin
from tidemill_inference.secrets.domain.errors import SecretNotFound
from tidemill_inference.secrets.domain.secret import Secret
from tidemill_inference.secrets.mongo import SECRETS
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.envelope import Keyring
from tidemill_kit.store.mongo import Database, connect
from tidemill_kit.workers.rewrapping import rewrap, under_other_keys
from tidemill_local import Addresses
from tidemill_testkit.stack import unique_name

OLD, NEW = Keyring.of(OLD_KEY), Keyring.of(NEW_KEY)


@pytest.fixture
async def database(stack: Addresses) -> AsyncIterator[Database]:
    client, name = connect(stack.mongo, timeout_s=10), unique_name("secrets")
    yield client[name]
    await client.drop_database(name)
    client.close()


async def test_secrets_under_another_key_are_found_until_they_are_wrapped_again(database: Database) -> None:
    store = MongoAggregates(
        database["secrets"], codec=SECRETS, topic="", source="/tidemill/inference", missing=SecretNotFound
    )
    pending = under_other_keys(database["secrets"], NEW.first)
    for each in (store, pending):
        await each.ensure_indexes()
    for name, keys in (("OLD", OLD), ("NEW", NEW), ("GONE", OLD)):
        secret = Secret(id=name, project="acme")
        secret.set([Origin.of(API)], {}, lambda *belongs, keys=keys: keys.seal(CANARY.encode(), *belongs))
        await store.add(secret, request=Request.internal())
    await store.update("acme", "GONE", gone, request=Request.internal())

    (found,) = (await pending("", without=frozenset())).items
    assert (found.project, found.id) == ("acme", "OLD")
    read = await store.get("acme", "OLD")
    assert isinstance(read.envelope, Envelope)
    assert OLD.open(read.envelope, *read.belongs) == CANARY.encode()

    await rewrap(store, Keyring.of(f"{NEW_KEY} {OLD_KEY}"), found)

    assert not (await pending("", without=frozenset())).items


def gone(secret: Secret) -> None:
    secret.forget()
    secret.deleted = True
