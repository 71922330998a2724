"""Collections as they are stored, and as callers see them."""

from dataclasses import asdict

from tidemill.rag.v1 import collection_pb2 as pb
from tidemill_kit.store.aggregates import Identity
from tidemill_rag.collections.domain.collection import Collection
from tidemill_rag.collections.domain.index_version import IndexState, IndexVersion
from tidemill_rag.collections.domain.search_settings import SearchSettings
from tidemill_rag.collections.mongo import COLLECTIONS
from tidemill_testkit.clocks import NOON
from tidemill_testkit.mapping import unsent

STORED = {
    "sources": ["cms"],
    "embedding": "minilm",
    "chunking": {"by": "structure", "max_tokens": 128, "overlap_tokens": 16},
    "last_index": 3,
    "indexes": [
        {
            "number": 3,
            "state": "live",
            "sources": ["cms"],
            "embedding": "minilm@1",
            "chunking": {"by": "structure", "max_tokens": 128, "overlap_tokens": 16},
            "create_time": NOON,
            "seeded": True,
            "seed_source": 1,
            "seed_token": "",
            "live_time": NOON,
            "retire_time": None,
            "message": "",
        }
    ],
}


def test_a_collection_that_an_earlier_version_stored_is_read_and_stored_as_it_was() -> None:
    facts = {"labels": {}, "version": 7, "seq": 2, "create_time": NOON, "update_time": NOON, "deleted": False}
    identity = Identity(id="handbook", project="acme", **facts)  # type: ignore[arg-type]  # by name

    collection = COLLECTIONS.decode(identity, STORED, 1)

    assert collection.indexes[0].state is IndexState.LIVE
    assert asdict(collection.chunking) == STORED["chunking"]
    assert not collection.sparse.used
    assert not collection.indexes[0].sparse.used
    assert not collection.indexes[0].quantized
    stored = COLLECTIONS.encode(collection)
    assert stored.pop("sparse") == stored["indexes"][0].pop("sparse") == {"by": "none", "languages": []}
    assert (stored.pop("go_live"), stored["indexes"][0].pop("expire_time")) == ("when_complete", None)
    assert stored["indexes"][0].pop("quantized") is False
    assert (stored["indexes"][0].pop("search"), stored["indexes"][0].pop("passages_of")) == (None, 0)
    assert (stored.pop("begun"), stored.pop("promotions")) == (None, 0)
    assert collection.made_of == collection.indexes[0].made_of
    assert stored.pop("search") == asdict(SearchSettings())
    assert stored == STORED


def test_of_a_collection_and_its_index_versions_callers_do_not_see_how_they_were_listed() -> None:
    assert unsent(pb.Collection, Collection) == {"last_index", "begun", "promotions"}
    assert unsent(pb.IndexVersion, IndexVersion) == {
        "sources",
        "quantized",
        "seeded",
        "seed_source",
        "seed_token",
        "retire_time",
    }
