"""A process with a Java machine, which runs scripts on the embedded MongoDB: a machine stays until its process ends."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = """
import contextlib, io, json, os, sys, traceback
from pathlib import Path
import jpype, pymongo
from tidemill_local import mongo_server
from tidemill_local.mongo_commits import GroupCommit
from tidemill_local.mongo_indexes import opened_backend
from tidemill_local.mongo_journal import Journal
from tidemill_local.mongo_scans import PartialScans
from tidemill_local.places import JARS

answers = os.fdopen(os.dup(1), "w")
mongo_server.start_machine(JARS)
java, document = jpype.java, jpype.JClass("de.bwaldvogel.mongo.bson.Document")
KeyValue = jpype.JClass("de.bwaldvogel.mongo.backend.KeyValue")
clients = []

def journal_of(store):
    return Journal(store, place.with_suffix(".journal"))

def served(store, commit, journal=None):
    backend = mongo_server.durable_backend(store, commit, journal or journal_of(store))
    server = jpype.JClass("de.bwaldvogel.mongo.MongoServer")(backend)
    server.bind("127.0.0.1", 0)
    port = int(server.getLocalAddress().getPort())
    clients.append(pymongo.MongoClient("127.0.0.1", port, serverSelectionTimeoutMS=20_000))
    return clients[-1]

given, unchanged = dict(globals()), dict(vars(mongo_server))
for line in sys.stdin:
    script, file = json.loads(line)
    place = Path(file)
    names, log = {**given, "file": place}, io.StringIO()
    with contextlib.redirect_stderr(log):
        try:
            exec(script, names)
        except BaseException:
            names["failure"] = traceback.format_exc()
    while clients:
        clients.pop().close()
    vars(mongo_server).update(unchanged)
    answer = {"found": names.get("found"), "failure": names.get("failure", ""), "log": log.getvalue()}
    print(json.dumps(answer), file=answers, flush=True)
os._exit(0)
"""
"""What it runs; a script finds its names, and the path of a `file` of its own, and sets `found`."""


@dataclass(frozen=True)
class JavaProcess:
    """A running one."""

    process: "subprocess.Popen[str]"

    @classmethod
    def start(cls, folder: Path) -> "JavaProcess":
        """Start one, whose Java machine may write its complaints into a file of the folder."""
        with (folder / "java.log").open("w") as log:
            return cls(
                subprocess.Popen(  # noqa: S603 - a script of ours
                    [sys.executable, "-c", PROGRAM],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
            )

    def run(self, script: str, file: Path) -> tuple[Any, str]:
        """Return what a script has found, and its log."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([script, str(file)]) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline() or '{"failure": "it has ended"}')
        assert not answer["failure"], answer["failure"]
        return answer["found"], answer["log"]

    def end(self) -> None:
        """End it."""
        with self.process:
            self.process.kill()
