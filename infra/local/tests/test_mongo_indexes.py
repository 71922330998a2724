"""Opening a file's databases, in a process of its own, as a Java machine stays until its process ends."""

import ast
import subprocess
import sys
from pathlib import Path

OPENED = """
import os, sys
from pathlib import Path
import jpype
from tidemill_local import mongo_server
from tidemill_local.mongo_indexes import opened_backend
from tidemill_local.places import JARS

mongo_server.start_machine(JARS)
document = jpype.JClass("de.bwaldvogel.mongo.bson.Document")
store = mongo_server.open_store(Path(sys.argv[1]))
store.openMap("databases.d.system.namespaces").put("d.things", document("name", "d.things"))
store.openMap("databases.d.things").put("a", "text, which fails where it is read as a document")
key = jpype.JClass("de.bwaldvogel.mongo.backend.KeyValue")(jpype.JString("a"))
store.openMap("d.things._index__id_").put(key, "a")
declared = store.openMap("databases.d.system.indexes")
for name, field, unique in (("_id_", "_id", True), ("kind_1", "kind", False), ("end_-1", "end", False)):
    description = document("name", name)
    description.put("key", document(field, -1 if "-" in name else 1))
    description.put("ns", "d.things")
    description.put("unique", unique)
    declared.put(jpype.java.util.UUID.randomUUID(), description)
before = str(sorted(str(each) for each in declared.values()))
things = opened_backend(store).resolveDatabase("d").resolveCollection("things", False)
indexes = sorted((str(each.getName()), [str(key) for key in each.getKeys()]) for each in things.getIndexes())
print((indexes, before == str(sorted(str(each) for each in declared.values()))), flush=True)
os._exit(0)
"""


def test_databases_with_indexes_are_opened_without_reading_their_documents(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPENED, str(tmp_path / "store.mv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603 - a script of ours

    assert done.returncode == 0, done.stderr
    indexes, declared_as_before = ast.literal_eval(done.stdout)
    assert indexes == [
        ("_id_", ["IndexKey[key=_id ASC]"]),
        ("end_-1", ["IndexKey[key=end DESC]"]),
        ("kind_1", ["IndexKey[key=kind ASC]"]),
    ]
    assert declared_as_before
