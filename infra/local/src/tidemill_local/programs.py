"""The programs of a stack, one table: what each listens on, how it is started, which settings it gets."""

import hashlib
import os
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tidemill_kit.access.installation import ISSUER
from tidemill_local.addresses import Addresses, ObjectStoreAddress
from tidemill_local.kafka import KafkaNode, user_of
from tidemill_local.places import VLLM_PYTHON, StackFolder
from tidemill_local.ports import LOOPBACK

SERVERS = ("kafka", "mongo", "s3")

SERVICES: Mapping[str, tuple[str, ...]] = {
    "ingest": ("grpc", "metrics"),
    "rag": ("grpc", "metrics"),
    "trainer": ("grpc", "metrics"),
    "inference": ("grpc", "http", "metrics"),
    "feedback": ("grpc", "http", "metrics"),
    "evaluator": ("grpc", "metrics"),
    "monitor": ("grpc", "http", "metrics"),
}
"""The port names of each service; all services have a gRPC API."""

CALLS: Mapping[str, tuple[str, ...]] = {
    "ingest": ("trainer", "feedback"),
    "rag": ("ingest", "trainer"),
    "trainer": ("ingest", "evaluator"),
    "inference": ("rag", "trainer", "ingest", "feedback"),
    "feedback": ("inference",),
    "evaluator": ("inference", "ingest", "rag", "trainer", "feedback"),
}
"""The services that a service calls; its settings get their addresses."""

KEEP_FILES = ("ingest", "rag", "trainer", "inference")
"""The services with files of their own (indexes, downloads); their settings get a folder."""

WEED_PORTS = (
    "s3",
    "s3.grpc",
    "s3.master",
    "s3.master.grpc",
    "s3.volume",
    "s3.volume.grpc",
    "s3.filer",
    "s3.filer.grpc",
    "s3.admin.grpc",
)

PORT_NAMES = (
    *("kafka", "kafka.controller", "mongo"),
    *WEED_PORTS,
    *(f"{service}.{endpoint}" for service, endpoints in SERVICES.items() for endpoint in endpoints),
)

NO_TELEMETRY = {
    "ANONYMIZED_TELEMETRY": "false",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Disables the telemetry of libraries and servers."""

_TOKEN_KEYS = {"inference": "INFERENCE_FEEDBACK_TOKEN_KEY", "feedback": "FEEDBACK_TOKEN_KEY"}
"""The settings of the key that inference signs feedback tokens with."""

_ARENAS = {"MALLOC_ARENA_MAX": "2"}
_PYTHON = _ARENAS | {"PYTHONDONTWRITEBYTECODE": ""}
"""Some images set it: each process would compile what it imports, which takes as long as the rest of its start."""
_THRIFT = _PYTHON | {"MALLOC_TRIM_THRESHOLD_": str(16 * 1024 * 1024)}
"""Makes glibc return freed memory of tensors: without this rag keeps 300 MB that it does not use."""
_OF_SERVICE = {
    "inference": dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(64 * 1024 * 1024)),
    "rag": {"MALLOC_MMAP_THRESHOLD_": str(8 * 1024 * 1024)},
}
"""With a threshold for trimming alone, every tensor of 128 KB is mapped anew: a third of a model's speed."""


STORE_MEMORY = {"GOMEMLIMIT": "288MiB", "GOGC": "50"}
"""Without a limit the object store's garbage grows to a gigabyte before it is collected, and to twice what is in use
without GOGC. It always holds 231 MB, most of it never written to, and up to 270 while it works: near the limit it
collects at every few writes, a tenth of a core. Who has the memory gives it more by the same variables.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One supervised process; `environment` is its alone."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_within_s: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What is decided once for a stack and kept: its ports, its keys, its Kafka cluster."""

    ports: Mapping[str, int]
    cluster: str
    access_key: str
    secret_key: str
    open_kafka: bool = False
    """Whether Kafka lets everyone do everything, without credentials."""

    def address(self, name: str) -> str:
        """Return host:port of a named port."""
        return f"{LOOPBACK}:{self.ports[name]}"


def addresses(folder: StackFolder, choices: Choices) -> Addresses:
    """Return what clients need to know."""
    return Addresses(
        kafka=choices.address("kafka"),
        mongo=f"mongodb://{choices.address('mongo')}",
        s3=ObjectStoreAddress(
            endpoint=choices.address("s3"), access_key=choices.access_key, secret_key=choices.secret_key
        ),
        services={
            service: {endpoint: choices.address(f"{service}.{endpoint}") for endpoint in endpoints}
            for service, endpoints in SERVICES.items()
        },
        credential_file=str(folder.access.admin.absolute()),
        kafka_passwords="" if choices.open_kafka else str(folder.kafka_passwords.folder.absolute()),
    )


def kafka_node(folder: StackFolder, choices: Choices, jars: Path) -> KafkaNode:
    """Return the Kafka node of a stack."""
    return KafkaNode(
        jars=jars,
        data=folder.data("kafka"),
        settings=folder.config / "kafka.properties",
        cluster=choices.cluster,
        broker_port=choices.ports["kafka"],
        controller_port=choices.ports["kafka.controller"],
        passwords=None if choices.open_kafka else folder.kafka_passwords,
    )


def servers(folder: StackFolder, choices: Choices, jars: Path) -> list[Program]:
    """Return the three servers."""
    mongo = [sys.executable, "-m", "tidemill_local.mongo_server", "--jars", str(jars)]
    mongo += ["--file", str(folder.data("mongo") / "store.mv"), "--port", str(choices.ports["mongo"])]
    keys = {"AWS_ACCESS_KEY_ID": choices.access_key, "AWS_SECRET_ACCESS_KEY": choices.secret_key}
    memory = {name: os.environ.get(name, value) for name, value in STORE_MEMORY.items()}
    return [
        Program(name="kafka", command=tuple(kafka_node(folder, choices, jars).command()), environment=_ARENAS),
        Program(name="mongo", command=tuple(mongo), environment=_PYTHON),
        Program(name="s3", command=_weed(folder, choices), environment=keys | memory | _storage_keys(choices)),
    ]


def services(folder: StackFolder, choices: Choices) -> list[Program]:
    """Return the services."""
    return [
        Program(
            name=service,
            command=(sys.executable, "-m", f"tidemill_{service}"),
            environment=_THRIFT
            | _OF_SERVICE.get(service, {})
            | service_environment(service, folder=folder, stack=addresses(folder, choices))
            | ({_TOKEN_KEYS[service]: _token_key(choices)} if service in _TOKEN_KEYS else {}),
            stop_within_s=30,
        )
        for service in SERVICES
    ]


def _token_key(choices: Choices) -> str:
    """Return a key that is this stack's alone, and the same at each start."""
    return _derived_key(choices, "feedback tokens")


def _storage_keys(choices: Choices) -> dict[str, str]:
    """Return the keys by which weed's parts know one another: its filer and volumes answer no other user's HTTP."""
    names = ("JWT_SIGNING", "JWT_SIGNING_READ", "JWT_FILER_SIGNING", "JWT_FILER_SIGNING_READ")
    return {f"WEED_{name}_KEY": _derived_key(choices, name) for name in names}


def _derived_key(choices: Choices, purpose: str) -> str:
    return hashlib.sha256(f"{purpose} of {choices.secret_key}".encode()).hexdigest()


def service_environment(service: str, *, folder: StackFolder, stack: Addresses) -> dict[str, str]:
    """Return the settings that a service gets, as its README lists them."""
    access = folder.access
    secret_keys = {"SECRETS_KEY_FILE": str(access.secret_keys.absolute())}
    own = {
        "ingest": secret_keys,
        "inference": {**secret_keys, "VLLM_PYTHON": str(VLLM_PYTHON)},
        "monitor": {"SIGNING_KEYS_FILE": str(access.signing_keys), "ISSUER": ISSUER},
    }
    values = {
        **stack.kafka_settings(user_of(service)),
        "MONGO_URI": stack.mongo,
        "S3_ENDPOINT": stack.s3.endpoint,
        "S3_ACCESS_KEY": stack.s3.access_key,
        "S3_SECRET_KEY": stack.s3.secret_key,
        **({"DATA_DIR": str(folder.data(service))} if service in KEEP_FILES else {}),
        **{
            f"{endpoint.upper()}_PORT": stack.services[service][endpoint].rpartition(":")[2]
            for endpoint in SERVICES[service]
        },
        "ACCESS_ISSUERS": f"{ISSUER}=file:{access.public_keys.absolute()}",
        "ACCESS_MONITOR_ADDRESS": stack.services["monitor"]["grpc"],
        "ACCESS_CREDENTIAL_FILE": str(access.service(service).absolute()),
        **own.get(service, {}),
        **{f"{other.upper()}_ADDRESS": stack.services[other]["grpc"] for other in CALLS.get(service, ())},
    }
    return {f"{service.upper()}_{name}": value for name, value in values.items()}


def _weed(folder: StackFolder, choices: Choices) -> tuple[str, ...]:
    ports = {
        "s3.port": "s3",
        "s3.port.grpc": "s3.grpc",
        "master.port": "s3.master",
        "master.port.grpc": "s3.master.grpc",
        "volume.port": "s3.volume",
        "volume.port.grpc": "s3.volume.grpc",
        "filer.port": "s3.filer",
        "filer.port.grpc": "s3.filer.grpc",
        "admin.port.grpc": "s3.admin.grpc",
    }
    flags = {
        "dir": folder.data("s3"),
        "ip": LOOPBACK,
        "ip.bind": LOOPBACK,
        **{flag: choices.ports[name] for flag, name in ports.items()},
        # Its worker calls this port plus 10,000, whatever the one for gRPC is.
        "admin.port": choices.ports["s3.admin.grpc"] - 10_000,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.localSocket": folder.socket("s3"),
        "filer.localSocket": folder.socket("filer"),
        "s3.allowDeleteBucketNotEmpty": "false",
        "s3.autoCreateBucket": "false",
        # Each bucket takes a volume at least, and the free disk divided by this is how many there can be: the 1024 that
        # weed takes by itself ended at 55 buckets on 56 GB.
        "master.volumeSizeLimitMB": 128,
        "volume.preStopSeconds": 0,
        "admin.ui": "false",
        "webdav": "false",
        "master.telemetry": "false",
    }
    weed = Path(sysconfig.get_path("scripts")) / "weed"
    return (str(weed), "-logtostderr=true", "mini", *(f"-{flag}={value}" for flag, value in flags.items()))
