"""Opening a file's databases."""

from pathlib import Path

from infra.local.tests.process.java_process import JavaProcess

OPENED = """
store = mongo_server.open_store(file)
store.openMap("databases.d.system.namespaces").put("d.things", document("name", "d.things"))
store.openMap("databases.d.things").put("a", "text, which fails where it is read as a document")
key = KeyValue(jpype.JString("a"))
store.openMap("d.things._index__id_").put(key, "a")
declared = store.openMap("databases.d.system.indexes")
for name, field, unique in (("_id_", "_id", True), ("kind_1", "kind", False), ("end_-1", "end", False)):
    description = document("name", name)
    description.put("key", document(field, -1 if "-" in name else 1))
    description.put("ns", "d.things")
    description.put("unique", unique)
    declared.put(java.util.UUID.randomUUID(), description)
before = str(sorted(str(each) for each in declared.values()))
things = opened_backend(store).resolveDatabase("d").resolveCollection("things", False)
indexes = sorted((str(each.getName()), [str(key) for key in each.getKeys()]) for each in things.getIndexes())
found = [indexes, before == str(sorted(str(each) for each in declared.values()))]
"""


def test_databases_with_indexes_are_opened_without_reading_their_documents(java: JavaProcess, tmp_path: Path) -> None:
    (indexes, declared_as_before), _ = java.run(OPENED, tmp_path / "store.mv")

    assert indexes == [
        ["_id_", ["IndexKey[key=_id ASC]"]],
        ["end_-1", ["IndexKey[key=end DESC]"]],
        ["kind_1", ["IndexKey[key=kind ASC]"]],
    ]
    assert declared_as_before
