"""Scripts that use the embedded MongoDB in a process of their own: a Java machine stays until its process ends."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

STARTED = """
import json, os, sys
from pathlib import Path
import jpype, pymongo
from tidemill_local import mongo_server
from tidemill_local.mongo_commits import GroupCommit
from tidemill_local.mongo_journal import Journal
from tidemill_local.places import JARS

mongo_server.start_machine(JARS)
file = Path(sys.argv[1])

def journal_of(store):
    return Journal(store, file.with_suffix(".journal"))

def served(store, commit, journal=None):
    backend = mongo_server.durable_backend(store, commit, journal or journal_of(store))
    server = jpype.JClass("de.bwaldvogel.mongo.MongoServer")(backend)
    server.bind("127.0.0.1", 0)
    return pymongo.MongoClient("127.0.0.1", int(server.getLocalAddress().getPort()), serverSelectionTimeoutMS=20_000)
"""
"""What they begin with."""


def printed(script: str, file: Path) -> tuple[Any, str]:
    """Return what a script that is given a file prints as JSON, and its log."""
    command = [sys.executable, "-c", script, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603 - a script of ours
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr
