"""Keys of projects in MongoDB."""

import asyncio
from dataclasses import replace

from services.ingest.tests.fakes import ACME, ProjectsHere
from services.ingest.tests.keys import NEW, OLD
from tidemill_ingest.pseudonyms.mongo import COLLECTION, PROJECT_KEYS, ProjectKeyNotFound
from tidemill_ingest.pseudonyms.project_secrets import KeepProjectSecrets
from tidemill_ingest.pseudonyms.secret import DerivedSecret
from tidemill_kit.store.aggregates import MongoAggregates
from tidemill_kit.store.envelope import Keyring
from tidemill_kit.store.mongo import Database
from tidemill_kit.workers.rewrapping import rewrap, under_other_keys


async def test_replicas_that_need_the_first_key_at_once_have_one_and_put_it_under_a_new_key_of_the_operator(
    database: Database,
) -> None:
    store = MongoAggregates(
        database[COLLECTION], codec=PROJECT_KEYS, topic="", source="/tidemill/ingest", missing=ProjectKeyNotFound
    )
    replica = KeepProjectSecrets(keys=store, seals=Keyring.of(OLD), projects=ProjectsHere(), derive=DerivedSecret)
    pending = under_other_keys(database[COLLECTION], Keyring.of(NEW).first)
    for each in (store, pending):
        await each.ensure_indexes()

    made = await asyncio.gather(*(replica.get(ACME, create=True) for _ in range(8)))
    [found] = (await pending("", without=frozenset())).items
    await rewrap(store, Keyring.of(f"{NEW} {OLD}"), found)
    read = await replace(replica, seals=Keyring.of(NEW)).get(ACME, create=False)

    assert found.project == "acme"
    assert {each.tokens_key for each in made} == {read.tokens_key}
    assert not (await pending("", without=frozenset())).items
