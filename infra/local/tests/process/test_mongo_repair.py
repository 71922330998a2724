"""What a kill leaves of the embedded MongoDB."""

from pathlib import Path

from infra.local.tests.process.java_process import JavaProcess

REPAIRED = """
def sizes(store):
    return [int(store.openMap(name).sizeAsLong()) for name in ("databases.d.things", "d.things._index__id_")]

store = mongo_server.open_store(file)
client = served(store, GroupCommit(store.commit))
client.d.things.create_index([("kind", 1)], unique=True)
client.d.things.insert_many({"_id": each, "kind": f"of {each}"} for each in ("a", "b", 7))
one = java.util.Collections.singletonList
by_id, by_kind = store.openMap("d.things._index__id_"), store.openMap("d.things._index_kind_1")
for each in (jpype.JString("b"), jpype.JDouble(7)):
    assert by_id.remove(KeyValue(one(each))) is not None
by_id.put(KeyValue(one(jpype.JString("gone"))), "gone")
assert by_kind.remove(KeyValue(one(jpype.JString("of b")))) is not None
store.commit()
client.close()
store.closeImmediately()
again = mongo_server.open_store(file)
before = sizes(again)
things = served(again, GroupCommit(again.commit)).d.things
read = [things.find_one({"_id": each}) for each in ("a", "b", 7, "gone")]
changed = things.update_one({"_id": "b", "kind": "of b"}, {"$set": {"n": 1}}).matched_count
removed = [things.delete_one({"_id": "b"}).deleted_count, things.delete_many({"kind": {"$exists": True}}).deleted_count]
things.insert_one({"_id": "b", "kind": "of b"})
found = [before, read, changed, removed]
"""


def test_indexes_that_lack_documents_are_repaired_when_a_file_is_opened(java: JavaProcess, tmp_path: Path) -> None:
    (sizes, found, changed, removed), log = java.run(REPAIRED, tmp_path / "store.mv")

    assert sizes == [3, 3]
    assert found == [{"_id": "a", "kind": "of a"}, {"_id": "b", "kind": "of b"}, {"_id": 7, "kind": "of 7"}, None]
    assert changed == 1
    assert removed == [1, 2]
    assert "added 2 entries and removed 1" in log
    assert "the index kind_1 of d.things is made anew: 3 documents, 2 entries" in log
