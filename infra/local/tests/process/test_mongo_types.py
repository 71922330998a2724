"""How the embedded MongoDB stores keys and documents."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.local.tests.process.java_process import JavaProcess
from tidemill_local.jars import classpath
from tidemill_local.mongo_types import CLASSES
from tidemill_local.places import JARS

COMPILER = 17
"""The version of javac that made the classes."""

STORED = """
ObjectId = jpype.JClass("de.bwaldvogel.mongo.bson.ObjectId")
texts = ["", "a", "b", "aa", "Z", "acme/7", "acme/10", "\u00e9", "\u00e9a", "a\\0", "\U0001f600", "x" * 300]
values = [[jpype.JString(text)] for text in texts] + [[jpype.JInt(7)], [jpype.JDouble(0.5)], [ObjectId()], [None]]
values += [[jpype.JString("a"), jpype.JInt(1)]]
keys = [KeyValue(java.util.ArrayList(each)) for each in values]

def sign(number):
    return (number > 0) - (number < 0)

def stored(number):
    found = document("_id", f"acme/{number}")
    found.put("number", jpype.JInt(number))
    found.put("at", java.time.Instant.ofEpochMilli(1_780_000_000_123))
    found.put("none", None)
    found.put("list", java.util.ArrayList([document("text", "\u00e9"), jpype.JLong(2**40), jpype.JDouble(0.25)]))
    found.put("id", java.util.UUID(1, 2))
    return found

def shown(store):
    by_id, data = store.openMap("d.things._index__id_"), store.openMap("databases.d.documents")
    assert all(str(by_id.get(key)) == str(key) for key in by_id.keySet())
    pairs = sorted((str(each.getKey()), str(each.getValue())) for each in data.entrySet())
    return [[str(key) for key in by_id.keySet()], pairs, sorted(str(each.getClass()) for each in data.values())]

own, of_h2 = jpype.JClass("tidemill.KeyType")(), jpype.JClass("org.h2.mvstore.type.ObjectDataType")()
differing = [
    (str(one), str(other))
    for one in keys for other in keys
    if sign(own.compare(one, other)) != sign(of_h2.compare(one, other))
]
earlier = jpype.JClass("org.h2.mvstore.MVStore$Builder")().fileName(str(file)).open()
for key in keys:
    earlier.openMap("d.things._index__id_").put(key, str(key))
for number in range(100):
    earlier.openMap("databases.d.documents").put(f"acme/{number}", stored(number))
before = shown(earlier)
earlier.close()
store = mongo_server.open_store(file)
as_read = shown(store)
by_id, data = store.openMap("d.things._index__id_"), store.openMap("databases.d.documents")
for key in keys:
    by_id.put(key, str(key))
for number in range(100):
    data.put(f"acme/{number}", stored(number))
store.close()
again = mongo_server.open_store(file)
found = [differing, before, as_read, shown(again)]
"""


WRITTEN = """
store = mongo_server.open_store(file)
database = served(store, GroupCommit(store.commit)).d
database.inserted.insert_one({"_id": "a"})
database.create_collection("created")
database.updated.update_one({"_id": "a"}, {"$set": {"n": 1}}, upsert=True)
database.modified.find_one_and_update({"_id": "a"}, {"$set": {"n": 1}}, upsert=True)
database.indexed.create_index([("n", 1)])
database.dropped.insert_one({"_id": "a"})
database.dropped.drop()
database.dropped.insert_one({"_id": "a"})
names = sorted(database.list_collection_names())

def type_of(data_type):
    return str(data_type.getClass().getSimpleName())

keys = [type_of(store.openMap(f"d.{name}._index__id_").getKeyType()) for name in names]
documents = [type_of(store.openMap(f"databases.d.{name}").getValueType()) for name in names]
found = [names, keys, documents]
"""

KEPT = """
fields_of = jpype.JClass("de.bwaldvogel.mongo.bson.Document").class_.getDeclaredField("documentAsMap")
fields_of.setAccessible(True)

def of_bson(map):
    kept = []
    for entry in map.entrySet():
        fields = fields_of.get(entry.getValue())
        bson = fields.getClass().getDeclaredField("bson") if "Stored" in str(fields.getClass()) else None
        if bson is not None:
            bson.setAccessible(True)
            kept += [str(entry.getKey())] * (bson.get(fields) is not None)
    return sorted(kept)
"""


@pytest.fixture(scope="module")
def stored(java: JavaProcess, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Return in which pairs of keys the orders differ, and what was stored: by H2 alone, read so, and stored again."""
    found, _ = java.run(STORED, tmp_path_factory.mktemp("types") / "store.mv")
    return list(found)


def test_keys_have_the_order_that_they_have_as_java_serializes_them(stored: list[object]) -> None:
    assert stored[0] == []


def test_what_earlier_versions_stored_is_read_as_it_was(stored: list[object]) -> None:
    assert stored[2] == stored[1]


def test_what_is_stored_is_read_as_it_was(stored: list[object]) -> None:
    assert stored[3] == stored[1]


def test_what_commands_create_while_the_server_runs_has_our_types(java: JavaProcess, tmp_path: Path) -> None:
    (names, keys, documents), _ = java.run(WRITTEN, tmp_path / "store.mv")

    assert names == ["created", "dropped", "indexed", "inserted", "modified", "updated"]
    assert keys == ["KeyType"] * 6
    assert documents == ["DocumentType"] * 6


def test_documents_are_bson_in_memory_until_something_of_them_is_asked_for(java: JavaProcess, tmp_path: Path) -> None:
    script = f"""{KEPT}
store = mongo_server.open_store(file)
things = served(store, GroupCommit(store.commit)).d.things
things.create_index([("at", 1)], partialFilterExpression={{"at": {{"$exists": True}}}})
things.insert_many([{{"_id": each, "n": {{"of": 1}}, "at": 1}} for each in "abcd"])
documents = store.openMap("databases.d.things")
put = of_bson(documents)
waits = len(list(things.find({{"at": {{"$lt": 2}}}}, {{"_id": 1}})))
searched = of_bson(documents)
read = things.find_one({{"_id": "b"}})
after = of_bson(documents)
things.update_one({{"_id": "b"}}, {{"$inc": {{"n.of": 1}}}})
things.update_many({{"_id": {{"$in": ["a", "c"]}}, "n.of": 1}}, {{"$set": {{"x": 1}}, "$unset": {{"at": ""}}}})
things.delete_one({{"_id": "d"}})
changed = of_bson(documents)
store.commit()
store.close()
again = mongo_server.open_store(file)
opened = of_bson(again.openMap("databases.d.things"))
stored = list(served(again, GroupCommit(again.commit)).d.things.find())
found = [put, waits, searched, read, after, changed, opened, stored]
"""

    (put, waits, searched, read, after, changed, opened, stored), _ = java.run(script, tmp_path / "store.mv")

    assert (put, waits, searched, after) == (list("abcd"), 4, list("abcd"), list("acd"))
    assert read == {"_id": "b", "n": {"of": 1}, "at": 1}
    assert (changed, opened) == (list("abc"), list("abc"))
    others = [{"_id": each, "n": {"of": 1}, "x": 1} for each in "ac"]
    assert stored == [others[0], {"_id": "b", "n": {"of": 2}, "at": 1}, others[1]]


def test_a_document_that_was_bson_may_get_a_value_that_bson_does_not_have(java: JavaProcess, tmp_path: Path) -> None:
    script = """
store = mongo_server.open_store(file)
served(store, GroupCommit(store.commit)).d.things.insert_one({"_id": "a", "n": {"of": 1}})
documents = store.openMap("databases.d.things")
changed = documents.get("a")
changed.put("bits", java.util.BitSet(8))
documents.put("a", changed)
store.close()
stored = mongo_server.open_store(file).openMap("databases.d.things").get("a")
found = [str(stored), str(stored.get("bits").getClass().getSimpleName())]
"""

    found, _ = java.run(script, tmp_path / "store.mv")

    assert found == ['{"_id" : "a", "n" : {"of" : 1}, "bits" : "{}"}', "BitSet"]


def test_whatever_a_map_has_decodes_a_document_first(java: JavaProcess, tmp_path: Path) -> None:
    script = f"""{KEPT}
store = mongo_server.open_store(file)
served(store, GroupCommit(store.commit)).d.things.insert_one({{"_id": "a", "n": 1}})
documents = store.openMap("databases.d.things")
fields = fields_of.get(documents.get("a"))
bson = of_bson(documents)
ours = {{(str(each.getName()), len(each.getParameterTypes())) for each in fields.getClass().getDeclaredMethods()}}
static = jpype.JClass("java.lang.reflect.Modifier").isStatic
asked = [each for each in jpype.JClass("java.util.Map").class_.getMethods() if not static(each.getModifiers())]
left = {{(str(each.getName()), len(each.getParameterTypes())) for each in asked}} - ours
before = int(fields.putIfAbsent("n", jpype.JInt(7)))
found = [bson, sorted(name for name, _ in left), before, of_bson(documents)]
"""

    found, _ = java.run(script, tmp_path / "store.mv")

    assert found == [["a"], ["equals", "hashCode"], 1, []]


def test_classes_and_sources_are_those_that_were_made_together() -> None:
    listed = (line.split() for line in (CLASSES / "SHA256SUMS").read_text().splitlines())
    files = (file for file in CLASSES.rglob("*") if file.suffix in {".class", ".java"})

    found = {str(file.relative_to(CLASSES)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    assert found == {name: digest for digest, name in listed}


def test_the_classes_are_made_of_their_sources(tmp_path: Path) -> None:
    compiler = shutil.which("javac")
    if compiler is None or not _version(compiler).startswith(f"javac {COMPILER}."):
        pytest.skip(f"needs javac {COMPILER}")
    sources = sorted(CLASSES.rglob("*.java"))
    options = [
        "--release",
        str(COMPILER),
        "-g:none",
        "-proc:none",
        "-cp",
        classpath(JARS, "mongo"),
        "-d",
        str(tmp_path),
    ]
    subprocess.run([compiler, *options, *sources], check=True, timeout=120)  # noqa: S603 - our own sources

    made = {file.relative_to(tmp_path): file.read_bytes() for file in tmp_path.rglob("*.class")}
    assert made == {file.relative_to(CLASSES): file.read_bytes() for file in CLASSES.rglob("*.class")}


def _version(compiler: str) -> str:
    return subprocess.run([compiler, "-version"], capture_output=True, text=True, check=True, timeout=60).stdout  # noqa: S603 - see above
