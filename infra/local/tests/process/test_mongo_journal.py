"""What a kill leaves of commands in the journal of the embedded MongoDB."""

from itertools import product
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
things.database.command({"insert": "others", "documents": [{"n": 1}]})
before = list(things.database.others.find())
store.closeImmediately()
store, journal, commit, things = start()
found = [refused, sorted(each["_id"] for each in things.find()), list(things.database.others.find()) == before]
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

BOUNDS = (
    START
    + """
from tidemill_local import mongo_journal

store, journal, commit, things = start()
grown = {}

def grows(name, do):
    commit.flush()
    do()
    grown[name] = written.stat().st_size > 16

def with_limit(limit, value, do):
    before = getattr(mongo_journal, limit)
    setattr(mongo_journal, limit, value)
    do()
    setattr(mongo_journal, limit, before)

def put(text="x"):
    things.update_one({"_id": 0}, {"$set": {"text": text}}, upsert=True)

def put_named(text="x"):
    things.update_one({"_id": "a"}, {"$set": {"text": text}}, upsert=True)

def amid(do, message, *, bounded):
    def then(message):
        reply = do(message)
        store.commit()
        return reply
    return as_before(then, message, bounded=bounded)

def stored_amid():
    journal.written = amid
    put_named("z")
    journal.written = as_before

as_before = journal.written
grows("one", put_named)
grows("64 inserted", lambda: things.insert_many([{"_id": f"i{each}"} for each in range(64)]))
grows("65 inserted", lambda: things.insert_many([{"_id": f"j{each}"} for each in range(65)]))
listed = [f"j{each}" for each in range(65)]
grows("64 listed", lambda: things.update_many({"_id": {"$in": listed[1:]}}, {"$set": {"n": 1}}))
grows("65 listed", lambda: things.update_many({"_id": {"$in": listed}}, {"$set": {"n": 2}}))
grows("65 in two", lambda: things.bulk_write([
    pymongo.DeleteMany({"_id": {"$in": listed[:33]}}), pymongo.DeleteMany({"_id": {"$in": listed[33:]}})
]))
grows("any", put)
grows("commands", lambda: with_limit("MAX_BYTES", 100, put_named))
grows("a command", lambda: with_limit("MAX_COMMAND_BYTES", 300, lambda: put_named("y" * 301)))
grows("pages", lambda: with_limit("MAX_UNSAVED_BYTES", 100, lambda: put_named("y")))
grows("stored by the library", stored_amid)
store.closeImmediately()
found = grown
"""
)
KILLED_AMID = (
    START
    + """
import itertools, threading

store, journal, commit, things = start()
acknowledged = [[] for _ in range(4)]
enough = threading.Event()

def write(number):
    with contextlib.suppress(pymongo.errors.PyMongoError):
        for each in itertools.count():
            into = things if each % 2 else things.database.others
            into.insert_one({"_id": f"{number}-{each}", "by": number})
            into.update_one({"_id": f"count-{number}"}, {"$inc": {"n": 1}}, upsert=True)
            if each % 10 == 9:
                into.update_many({"by": number}, {"$set": {"seen": each}})
            acknowledged[number].append(each)
            if each > 12:
                enough.set()

threads = [threading.Thread(target=write, args=[number]) for number in range(4)]
for each in threads:
    each.start()
was_enough = enough.wait(60)
store.closeImmediately()
for each in threads:
    each.join()
store, journal, commit, things = start()
both = (things, things.database.others)
documents = [each["_id"] for into in both for each in into.find({"by": {"$exists": True}})]
counts = [
    sum(each["n"] for into in both for each in into.find({"_id": f"count-{number}"}))
    for number in range(4)
]
store.closeImmediately()
found = [was_enough, acknowledged, documents, counts]
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
        "t5": {"n": 104, "text": "x"}
    }
    assert last == {"n": 5, "text": "x"}
    assert "did 11 commands of the journal again" in log
    assert log.count("store.journal cannot be written (java.io.IOException): each write waits") == 1
    assert sizes[0] == 16, "a commit leaves none"
    assert sizes[2] == 16, "what could not be added was committed"
    assert sizes[1] > 16, "what follows a commit is added again"


def test_a_command_that_the_library_fails_at_does_not_keep_the_server_from_starting(
    java: JavaProcess, tmp_path: Path
) -> None:
    found, log = java.run(FAILED, tmp_path / "store.mv")

    assert found == [3, ["a", "b"], True]
    assert "of d.things in the journal fails: " in log
    assert "99999999999" not in log, "no text of what was written"


def test_a_journal_beside_an_older_copy_of_its_store_is_kept_and_not_done_again(
    java: JavaProcess, tmp_path: Path
) -> None:
    (same, states), log = java.run(OLDER, tmp_path / "store.mv")

    assert same
    assert states == [{"_id": "a", "n": 1}, {"_id": "a", "n": 1, "seen": True, "later": 1}]
    assert "store.journal.passed-over belongs to" in log


def test_only_commands_about_few_documents_are_in_it_until_a_commit_is_due(java: JavaProcess, tmp_path: Path) -> None:
    found, _ = java.run(BOUNDS, tmp_path / "store.mv")

    assert {name for name, grown in found.items() if grown} == {"one", "64 inserted", "64 listed"}
    assert len(found) == 11


def test_what_writers_at_the_same_time_had_acknowledged_is_there_once_after_a_kill(
    java: JavaProcess, tmp_path: Path
) -> None:
    (was_enough, acknowledged, found, counts), _ = java.run(KILLED_AMID, tmp_path / "store.mv")

    assert was_enough
    lost = {f"{number}-{each}" for number, done in enumerate(acknowledged) for each in done} - set(found)
    assert lost == set()
    assert [count - len(done) for count, done in zip(counts, acknowledged, strict=True)] in [
        list(more) for more in product((0, 1), repeat=4)
    ], "what was under way may be there"


def test_signals_are_left_to_python(java: JavaProcess, tmp_path: Path) -> None:
    script = """
import signal
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
caught = int(status["SigCgt"], 16)
found = bool(caught >> (signal.SIGTERM - 1) & 1)
"""

    found, _ = java.run(script, tmp_path / "store.mv")

    assert not found, "Java would end the machine while a server starts"
