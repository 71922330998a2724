"""Searches by partial indexes."""

from pathlib import Path

from infra.local.tests.process.java_process import JavaProcess

WAITING = """
opened, backends = mongo_server.opened_backend, []
mongo_server.opened_backend = lambda store: backends.append(opened(store)) or backends[0]
store = mongo_server.open_store(file)
commit = GroupCommit(store.commit)
client = served(store, commit)
things = client.d.things
things.create_index([("at", 1), ("_id", 1)], partialFilterExpression={"at": {"$exists": True}})
things.insert_many([{"_id": f"{n:04}", "n": n} | ({"at": n} if n % 100 == 7 else {}) for n in range(2000)])
waiting = {"at": {"$exists": True, "$lt": 1000}}
"""
MESSAGE = """
class Message:
    def __init__(self, command, **fields):
        self.document = document(command, "things")
        self.document.putAll(java.util.LinkedHashMap(fields))
    def getDocument(self):
        return self.document
    def getDatabaseName(self):
        return "d"

def named(searched):
    narrowed = searched.getDocument().get("filter").get("_id")
    return [str(each) for each in narrowed.get("$in")] if narrowed is not None else []
"""


def test_what_a_partial_index_is_of_is_found_as_by_the_library(java: JavaProcess, tmp_path: Path) -> None:
    script = f"""{WAITING}
last = [each["_id"] for each in things.find(waiting, {{"at": 1}}).sort("at", -1).limit(3)]
with_more = [each["_id"] for each in things.find(waiting | {{"n": {{"$gt": 500}}}})]
many = things.count_documents({{}}), len(list(things.find({{"at": {{"$exists": False}}}})))
whole = list(things.find(waiting | {{"at": {{"$gt": 1500}}}}, sort=[("n", -1)], limit=2))
without_id = list(things.find(waiting, {{"n": 1, "_id": 0}}, sort=[("at", 1), ("_id", 1)], limit=1))
without_n = list(things.find(waiting, {{"n": 0}}, sort=[("at", 1)], limit=1))
only_ids = list(things.find(waiting, {{"_id": 1}}, sort=[("at", 1)], limit=2))
parts = [only_ids, whole, without_id, without_n, list(things.find(waiting, {{"at": 1}}, sort=[("at", 1)], skip=9))]
found = [last, with_more, many, len(list(things.find({{"at": {{"$lt": 0}}}}))), parts]
"""

    found, _ = java.run(script, tmp_path / "store.mv")

    assert found[:-1] == [["0907", "0807", "0707"], ["0507", "0607", "0707", "0807", "0907"], [2000, 1980], 0]
    assert found[-1] == [
        [{"_id": "0007"}, {"_id": "0107"}],
        [{"_id": "1907", "n": 1907, "at": 1907}, {"_id": "1807", "n": 1807, "at": 1807}],
        [{"n": 7}],
        [{"_id": "0007", "at": 7}],
        [{"_id": "0907", "at": 907}],
    ]


def test_a_search_by_a_partial_index_holds_none_of_the_documents_that_it_passes(
    java: JavaProcess, tmp_path: Path
) -> None:
    script = """
at, mib = iter(range(1200, 0, -1)), jpype.JArray(jpype.JByte)

def next_document():
    passed = document("_id", str(number := next(at)))
    passed.put("at", jpype.JInt(number))
    passed.put("large", mib(2**20))  # all together are three times the heap
    return passed

documents = jpype.JProxy("java.util.Iterator", dict={
    "hasNext": lambda: at.__length_hint__() > 0, "next": next_document})
values = jpype.JProxy("java.util.Collection", dict={"iterator": lambda: documents})
searched = jpype.JProxy("java.util.Map", dict={"values": lambda: values})
ids = jpype.JClass("tidemill.PartialFind").ids
found = [str(each) for each in ids(searched, document("at", document("$gt", 0)), document("at", 1), 1001)]
"""

    found, _ = java.run(script, tmp_path / "store.mv")

    assert found == [str(number) for number in range(1, 1002)]


def test_what_has_changed_since_a_search_began_is_compared_again(java: JavaProcess, tmp_path: Path) -> None:
    script = f"""{WAITING}
held = backends[0].resolveDatabase("d").resolveCollection("things", False)
things.update_one({{"_id": "0107"}}, {{"$unset": {{"at": ""}}}})
things.delete_one({{"_id": "0207"}})
ids, fields = java.util.ArrayList(["0007", "0107", "0207"]), java.util.ArrayList(["_id", "at"])
documents, asked = store.openMap("databases.d.things"), document("at", document("$lt", 300))
read = jpype.JClass("tidemill.PartialFind").read(held, documents, ids, asked, fields)
found = [str(each.get("_id")) for each in read]
"""

    found, _ = java.run(script, tmp_path / "store.mv")

    assert found == ["0007"]


def test_partial_indexes_are_known_of_a_file_that_is_opened_again(java: JavaProcess, tmp_path: Path) -> None:
    script = f"""{WAITING}{MESSAGE}
client.close()
store.close()
again = mongo_server.open_store(file)
searched = Message("find", filter=document("at", document("$lt", 300)))
PartialScans(opened(again), again).find(searched)
found = named(searched)
"""

    found, _ = java.run(script, tmp_path / "store.mv")

    assert found == ["0007", "0107", "0207"]


def test_a_search_by_a_partial_index_does_not_wait_for_who_has_the_collection(
    java: JavaProcess, tmp_path: Path
) -> None:
    script = f"""{WAITING}{MESSAGE}
import threading
index = document("sparse", True)
index.put("key", document("at", 1))
searched, scans = Message("find", filter=document("at", document("$lt", 300))), PartialScans(backends[0], store)
scans.declare(Message("createIndexes", indexes=java.util.ArrayList([index])))
held = backends[0].resolveDatabase("d").resolveCollection("things", False)
by_library = threading.Thread(target=things.find_one, args=({{"n": {{"$lt": 0}}}},), daemon=True)
with jpype.synchronized(held):
    searching = threading.Thread(target=scans.find, args=(searched,), daemon=True)
    for each, limit_s in ((by_library, 0.3), (searching, 60)):
        each.start()
        each.join(limit_s)
    waits, ended = by_library.is_alive(), not searching.is_alive()
found = [waits, ended, named(searched) if ended else []]
"""

    found, _ = java.run(script, tmp_path / "store.mv")

    assert found == [True, True, ["0007", "0107", "0207"]]


def test_of_whole_documents_no_more_than_a_thousand_are_named_to_the_library(java: JavaProcess, tmp_path: Path) -> None:
    script = f"""{WAITING}{MESSAGE}
things.insert_many([{{"_id": f"more {{n}}", "at": n}} for n in range(3000, 3981)])
scans = PartialScans(backends[0], store)
index = document("sparse", True)
index.put("key", document("at", 1))
scans.declare(Message("createIndexes", indexes=java.util.ArrayList([index])))
found = []
for least, fields in ((0, []), (100, []), (0, ["at"]), (0, ["_id"])):
    wanted = document()
    for each in fields:
        wanted.put(each, 1)
    searched = Message("find", filter=document("at", document("$gt", least)), projection=wanted)
    reply = scans.find(searched)
    answered = reply.get("cursor").get("firstBatch").size() if reply is not None else 0
    found.append([answered, len(named(searched))])
"""

    found, _ = java.run(script, tmp_path / "store.mv")

    assert found == [[0, 0], [0, 1000], [1001, 0], [1001, 0]]
