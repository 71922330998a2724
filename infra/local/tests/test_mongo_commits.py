"""Writers that share the commits of a store, and what is left of the calls that they come by."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tidemill_local import mongo_server
from tidemill_local.mongo_commits import GroupCommit
from tidemill_testkit.polling import eventually

WAIT_S = 20.0


class Store:
    """A store whose commits wait until they may go on, and say what they have committed."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.commits: list[list[int]] = []
        self.begun = threading.Semaphore(0)
        self.may_go_on = threading.Semaphore(0)
        self.fails = False

    def commit(self) -> None:
        committed = list(self.written)
        self.begun.release()
        assert self.may_go_on.acquire(timeout=WAIT_S)
        if self.fails:
            message = "the disk is full"
            raise OSError(message)
        self.commits.append(committed)


def writing(store: Store, commit: GroupCommit, number: int) -> bool:
    """Write, and return whether that is committed once the commit returns."""
    with commit.writing():
        store.written.append(number)
    commit()
    return any(number in committed for committed in store.commits)


async def test_what_is_written_while_a_commit_is_under_way_is_in_one_more_commit() -> None:
    store = Store()
    commit = GroupCommit(store.commit)
    with ThreadPoolExecutor(max_workers=9) as threads:
        first = threads.submit(writing, store, commit, 0)
        assert store.begun.acquire(timeout=WAIT_S)
        others = [threads.submit(writing, store, commit, number) for number in range(1, 9)]
        await eventually(lambda: commit.waiting == 8)
        store.may_go_on.release(9)

        assert first.result(WAIT_S)
        assert all(other.result(WAIT_S) for other in others)
    assert len(store.commits) == 2


def test_a_write_is_never_said_to_be_committed_by_a_commit_that_failed() -> None:
    store = Store()
    commit = GroupCommit(store.commit)
    store.fails = True
    store.may_go_on.release(2)
    with pytest.raises(OSError, match="disk"):
        writing(store, commit, 0)
    store.fails = False

    assert writing(store, commit, 1)
    assert store.commits == [[0, 1]]


async def test_a_commit_waits_for_the_writes_that_have_begun() -> None:
    store = Store()
    commit = GroupCommit(store.commit)
    store.may_go_on.release(9)
    with ThreadPoolExecutor(max_workers=2) as threads:
        with commit.writing():
            other = threads.submit(writing, store, commit, 1)
            await eventually(lambda: commit.is_alone)
            assert store.commits == []
            store.written.append(0)

        assert other.result(WAIT_S)
    assert store.commits == [[1, 0]]


class CompactedStore:
    """A store that compacts a part when it may, and notes what it was asked for."""

    def __init__(self) -> None:
        self.parts = list[int]()
        self.may_go_on = threading.Semaphore(0)

    def compact(self, _fill_percent: int, part_bytes: int) -> None:
        self.parts.append(part_bytes)
        assert self.may_go_on.acquire(timeout=WAIT_S)


async def test_who_waits_to_write_goes_on_after_a_part_is_compacted() -> None:
    store, commit, stopped, written = CompactedStore(), GroupCommit(lambda: None), threading.Event(), list[int]()

    def write() -> None:
        with commit.writing():
            written.append(len(store.parts))

    with ThreadPoolExecutor(max_workers=2) as threads:
        compacting = threads.submit(mongo_server.compact_until, stopped, store, commit, every_s=0.0)
        await eventually(lambda: len(store.parts) == 1)
        other = threads.submit(write)
        await eventually(lambda: commit.waiting == 1)
        store.may_go_on.release()
        await eventually(lambda: len(store.parts) == 2)
        other.result(WAIT_S)
        stopped.set()
        store.may_go_on.release()
        compacting.result(WAIT_S)

    assert written == [1]
    assert set(store.parts) == {mongo_server.COMPACT_BYTES}


CALLED = """
import gc, os
import jpype
from tidemill_local import mongo_server
from tidemill_local.places import JARS

mongo_server.start_machine(JARS)
thread = jpype.JClass("java.util.concurrent.Executors").newSingleThreadExecutor()

def left(call, times):
    gc.collect()
    before = sum(type(each) is type for each in gc.get_objects())
    for _ in range(times):
        thread.submit(jpype.JProxy("java.lang.Runnable", dict={"run": call})).get()
    gc.collect()
    return sum(type(each) is type for each in gc.get_objects()) - before

def call():
    mongo_server.keep_thread_state()
    jpype.java.util.ArrayList().iterator()

left(call, 1)
print(left(call, 20), flush=True)
os._exit(0)
"""


def test_the_calls_of_one_thread_leave_no_classes_behind() -> None:
    done = subprocess.run([sys.executable, "-c", CALLED], capture_output=True, text=True, check=False, timeout=120)  # noqa: S603 - a script of ours

    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
