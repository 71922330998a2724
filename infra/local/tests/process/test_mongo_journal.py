"""What a kill leaves of commands in the journal of the embedded MongoDB."""

from pathlib import Path

from infra.local.tests.process.java_process import JavaProcess

START = """
written = file.with_suffix(".journal")

class Full:
    def __init__(self, out):
        self._out = out

    def write(self, *_):
        raise java.io.IOException("no space is left")

    def getChannel(self):
        return self._out.getChannel()

def start():
    store = mongo_server.open_store(file)
    journal = journal_of(store)
    commit = GroupCommit(journal.commit)
    return store, journal, commit, served(store, commit, journal).d.things

def read(things):
    return {each.pop("_id"): each for each in things.find()}
"""

KILLED = (
    START
    + """
sizes, states = [], []
store, journal, commit, things = start()
things.insert_many([{"_id": f"t{each}", "n": 0, "text": "x"} for each in range(6)])
things.update_one({"_id": "t0", "n": 0}, {"$inc": {"n": 1}})
commit.flush()
sizes.append(written.stat().st_size)
things.update_one({"_id": "t0"}, {"$inc": {"n": 1}})
store.commit()
things.find_one_and_update({"_id": "t1"}, {"$push": {"list": 1}})
things.delete_one({"_id": "t2", "n": 0})
things.update_many({"_id": {"$in": ["t3", "t4", "none"]}, "n": 0}, {"$inc": {"n": 7}})
taken = {"$set": {"out": [], "n": 8}, "$unset": {"text": ""}}
results = [things.update_many({"_id": {"$in": ["t3", "t3", "t4", "none"]}, "n": each}, taken) for each in (7, 8)]
results.append(things.update_many({"_id": {"$in": ["t3", "t4"]}, "n": 8}, {"$set": {"in.it": 1}}))
results.append(things.update_many({"_id": {"$in": ["t3"]}, "n": 8}, {"$set": {"out": [3]}}))
states.append([[each.matched_count, each.modified_count] for each in results])
things.update_one({"_id": "u", "n": {"$lt": 1}}, {"$inc": {"n": 1}}, upsert=True)
try:
    things.update_many({"_id": {"$in": ["t5"]}, "n": 0}, {"$set": {"n": 9, "m": 1}, "$unset": {"m": ""}})
except pymongo.errors.WriteError:
    states.append("refused")
client = things.database.client
client.other.things.insert_one({"_id": "o"})
try:
    things.insert_many([{"_id": "t0"}, {"_id": "t6", "n": 6}], ordered=False)
except pymongo.errors.BulkWriteError:
    states.append("refused")
store.closeImmediately()
kept = written.read_bytes()
written.write_bytes(kept + kept[16:60])

store, journal, commit, things = start()
states.append(read(things) | read(things.database.client.other.things))
things.update_many({"n": {"$gte": 0}}, {"$inc": {"n": 100}})
things.update_one({"_id": "t5"}, {"$inc": {"n": 1}})
sizes.append(written.stat().st_size)
things.update_one({"_id": "t5"}, {"$inc": {"n": 1}})
journal._out = Full(journal._out)
things.update_one({"_id": "t5"}, {"$inc": {"n": 1}})
sizes.append(written.stat().st_size)
store.closeImmediately()
written.write_bytes(bytes(16) + kept[16:])

store, journal, commit, things = start()
states.append(read(things))
things.update_one({"_id": "t5"}, {"$set": {"n": 5}})
store.closeImmediately()
states.append(read(start()[-1])["t5"])
found = [sizes, states]
"""
)

FAILED = (
    START
    + """
store, journal, commit, things = start()
things.insert_one({"_id": "a", "list": [1]})
commit.flush()
failing = [
    {"insert": "things"},
    {"update": "things", "updates": [{"q": {"_id": "a"}, "u": {"$set": {"list.99999999999": 1}}}]},
    {"delete": "things", "deletes": [{"q": {"_id": "a"}, "limit": "x"}]},
]
refused = 0
for each in failing:
    try:
        things.database.command(each)
    except pymongo.errors.OperationFailure:
        refused += 1
things.insert_one({"_id": "b"})
store.closeImmediately()
store, journal, commit, things = start()
found = [refused, sorted(each["_id"] for each in things.find())]
store.closeImmediately()
"""
)

OLDER = (
    START
    + """
store, journal, commit, things = start()
things.insert_one({"_id": "a", "n": 1})
commit.flush()
store.closeImmediately()
older = file.read_bytes()
store, journal, commit, things = start()
things.update_many({"n": 1}, {"$set": {"seen": True}})
things.update_one({"_id": "a"}, {"$inc": {"later": 1}})
store.closeImmediately()
newer, kept = file.read_bytes(), written.read_bytes()
file.write_bytes(older)
store, journal, commit, things = start()
states = [things.find_one()]
store.closeImmediately()
passed_over = written.with_name(written.name + ".passed-over")
same = passed_over.read_bytes() == kept
file.write_bytes(newer)
passed_over.replace(written)
store, journal, commit, things = start()
states.append(things.find_one())
store.closeImmediately()
found = [same, states]
"""
)


def test_what_was_acknowledged_before_a_kill_is_there_once(java: JavaProcess, tmp_path: Path) -> None:
    (sizes, states), log = java.run(KILLED, tmp_path / "store.mv")
    changed, conflict, refused, first, second, last = states

    assert changed == [[2, 2], [2, 0], [2, 2], [1, 1]]
    assert conflict == refused == "refused"
    assert first == {
        "t0": {"n": 2, "text": "x"},
        "t1": {"n": 0, "text": "x", "list": [1]},
        "t3": {"n": 8, "out": [3], "in": {"it": 1}},
        "t4": {"n": 8, "out": [], "in": {"it": 1}},
        "t5": {"n": 0, "text": "x"},
        "t6": {"n": 6},
        "u": {"n": 1},
        "o": {},
    }
    assert second == {name: {**each, "n": each["n"] + 100} for name, each in first.items() if name != "o"} | {
        "t5": {"n": 103, "text": "x"}
    }
    assert last == {"n": 5, "text": "x"}
    assert "did 11 commands of the journal again" in log
    assert sizes[0] == 16, "a commit leaves none"
    assert sizes[2] == 16, "what could not be added was committed"
    assert sizes[1] > 16, "what follows a commit is added again"


def test_a_command_that_the_library_fails_at_does_not_keep_the_server_from_starting(
    java: JavaProcess, tmp_path: Path
) -> None:
    found, log = java.run(FAILED, tmp_path / "store.mv")

    assert found == [3, ["a", "b"]]
    assert "of d.things in the journal fails: " in log
    assert "99999999999" not in log, "no text of what was written"


def test_a_journal_beside_an_older_copy_of_its_store_is_kept_and_not_done_again(
    java: JavaProcess, tmp_path: Path
) -> None:
    (same, states), log = java.run(OLDER, tmp_path / "store.mv")

    assert same
    assert states == [{"_id": "a", "n": 1}, {"_id": "a", "n": 1, "seen": True, "later": 1}]
    assert "store.journal.passed-over belongs to" in log
