"""Settings of a service: read once from the environment, all errors reported together."""

import os
import sys
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tidemill_core.errors import PreconditionFailed
from tidemill_core.quotas import Quota
from tidemill_core.transport_security import KafkaServers, is_loopback
from tidemill_kit.runtime.access import AccessSettings
from tidemill_kit.runtime.transport_security import TransportSettings

_REQUESTS_SHARE_OF_GRACE = 0.75


class ServiceSettings(AccessSettings, TransportSettings):
    """Settings of every service. A service derives its own with `env_prefix="INGEST_"` and adds its fields."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    renamed: ClassVar[Mapping[str, str]] = {}
    """Earlier names of fields, and those that they have now: a service that finds one of them refuses to start."""
    opens_deleted_projects: ClassVar[bool] = False
    """True of the service that answers admins of the installation for projects that were deleted."""

    host: str = "127.0.0.1"
    """The address that the servers listen on."""
    grpc_port: int = Field(ge=0, le=65535)
    """The gRPC port; 0 takes any free one."""
    metrics_port: int = Field(0, ge=0, le=65535)
    """The port of the Prometheus metrics; 0 serves none."""
    kafka_bootstrap_servers: str
    """Kafka's host:port, several joined by commas."""
    mongo_uri: str = Field(repr=False)
    """The MongoDB URI, with its credentials if it needs any."""
    mongo_database: str
    """The database, which belongs to this service alone."""
    s3_endpoint: str
    """The object store's host:port."""
    s3_access_key: str
    """The object store's access key."""
    s3_secret_key: SecretStr
    """The object store's secret key."""
    s3_secure: bool = False
    """True speaks TLS to the object store."""
    s3_max_concurrent: int = Field(16, ge=1, le=256)
    """Calls of the object store at the same time; further ones wait, and nothing else does."""
    s3_timeout_s: float = Field(30.0, gt=0)
    """How long the object store may send nothing before a call fails."""
    lease_ttl_s: float = Field(30.0, gt=1)
    """How long a lease outlives its last heartbeat, so also how long work waits after a crash of its process."""
    audit_hold_s: float = Field(600.0, ge=10, le=86400)
    """How long after a crash an audited call without outcome is held before it is recorded as of unknown outcome."""
    erasure_recheck_s: float = Field(60.0, ge=0, le=86400)
    """How long after an erasure removed everything its steps are repeated, for what was written meanwhile."""
    erasure_poll_interval_s: float = Field(30.0, gt=0)
    """How often pending erasures are searched, and those checked again that a legal hold covers."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level of this service's own lines; libraries log from warning on."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """auto: console on a terminal, JSON elsewhere."""
    otlp_endpoint: str = ""
    """Where spans go by OTLP over gRPC, for example http://127.0.0.1:4317; empty sends none."""
    max_message_bytes: int = Field(16 * 1024 * 1024, ge=64 * 1024)
    """The largest gRPC message taken or sent; a larger reply is REPLY_TOO_LARGE."""
    max_request_items: int = Field(25_000, ge=100)
    """Items in the repeated fields of one gRPC request, at any depth; counted before the request is parsed."""
    max_concurrent_rpcs: int = Field(1000, ge=1)
    """RPCs in work at the same time, at most half of them of one project; further ones get RESOURCE_EXHAUSTED."""
    max_streams_of_project: int = Field(200, ge=1)
    """Of these, how many of one project may be streams."""
    max_requests_per_minute_of_project: int = Field(12_000, ge=0)
    """Requests of one project by the minute, by gRPC and HTTP together. Those that come faster wait for up to a second,
    then they get RESOURCE_EXHAUSTED. Not those of other services. 0 is no limit."""
    max_requests_per_minute_of_subject: int = Field(6_000, ge=0)
    """The same for one person or account of a project; requests without a credential count by their address."""
    max_deadline_s: float = Field(3600.0, gt=0)
    """The longest that an RPC may take: one that comes without a deadline, or with a later one, gets this."""
    max_public_streams: int = Field(32, ge=1)
    """Open streams of health watches and reflection, which do not count as RPCs in work."""
    stream_idle_s: float = Field(60.0, gt=0)
    """How long a stream's client may send, or take, no message before the stream is ended."""
    grpc_reflection: bool = True
    """False hides which services and messages there are from those who ask by reflection."""
    max_inflated_bytes: int = Field(32 * 1024 * 1024, ge=1024 * 1024)
    """What a compressed batch of Kafka records may inflate to; beyond it the batch becomes one dead letter."""
    dependency_timeout_s: float = Field(5.0, gt=0)
    """How long one probe of a dependency may take."""
    probe_interval_s: float = Field(5.0, gt=0)
    """The pause between two probes of a dependency."""
    shutdown_grace_s: float = Field(20.0, ge=0)
    """How long RPCs and components get to finish after SIGTERM."""

    @property
    def request_grace_s(self) -> float:
        """How much of it requests get, by whichever API they come."""
        return _REQUESTS_SHARE_OF_GRACE * self.shutdown_grace_s

    @model_validator(mode="after")
    def _confidential(self) -> Self:
        """Beyond this machine, take credentials in plain text only if a setting allows it."""
        if is_loopback(self.host):
            return self
        if self.tls_cert_file is None and not self.tls_allow_plaintext:
            message = (
                f"HOST {self.host} takes credentials in plain text: set TLS_CERT_FILE and TLS_KEY_FILE, or, where the "
                "network is private, TLS_ALLOW_PLAINTEXT=true"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _secret_on_the_way(self) -> Self:
        """Refuse to send a password or token to Kafka where others can read it, unless a setting allows it."""
        if self.kafka.exposes_secret and not self.tls_allow_plaintext:
            message = (
                f"KAFKA_SASL_MECHANISM {self.kafka_sasl_mechanism} would send its secret in plain text: use SASL_SSL "
                "or SCRAM, or, where the network is private, TLS_ALLOW_PLAINTEXT=true"
            )
            raise ValueError(message)
        return self

    @property
    def service(self) -> str:
        """The service's name: its prefix in lower case."""
        return env_prefix(type(self)).rstrip("_").lower()

    @property
    def kafka(self) -> KafkaServers:
        """Where Kafka is and how it is spoken to."""
        return self.kafka_servers(self.kafka_bootstrap_servers)

    def quota(self, of: str, *, remedy: str = "delete what is not needed") -> Quota:
        """Return the quota that the field `max_<of>` sets: `of` names the resources of one project, in the plural."""
        name = f"max_{of}"
        limit: int = getattr(self, name)
        setting = (env_prefix(type(self)) + name).upper()
        return Quota(of=of.replace("_", " "), limit=limit, setting=setting, remedy=remedy)


class PortTaken(PreconditionFailed):
    """Nothing can listen on a port that the settings name."""

    reason = "PORT_TAKEN"

    def __init__(self, settings: ServiceSettings, field: str) -> None:
        address, name = f"{settings.host}:{getattr(settings, field)}", (env_prefix(type(settings)) + field).upper()
        super().__init__(f"{address} cannot be listened on: end what listens there, or set {name} to a free port")


S = TypeVar("S", bound=BaseSettings)


def env_prefix(kind: type[BaseSettings]) -> str:
    """Return what the names of the environment variables start with."""
    return kind.model_config.get("env_prefix", "")


def load(kind: type[S]) -> S:
    """Read the settings; on errors list every one on stderr, without its value, and exit with 2.

    An earlier name of a setting is an error: ignoring it would leave the setting at its default.
    """
    lines, settings = list(_renamed(kind)), None
    try:
        settings = kind()
    except ValidationError as error:
        lines += [_line(kind, problem["loc"], problem["msg"]) for problem in error.errors()]
    if settings is not None and not lines:
        return settings
    sys.stderr.write("\n".join([f"{len(lines)} setting(s) cannot be used:", *lines, ""]))
    raise SystemExit(2)


def _renamed(kind: type[BaseSettings]) -> Iterator[str]:
    prefix, there = env_prefix(kind), {name.upper() for name in os.environ}
    renamed = kind.renamed if issubclass(kind, ServiceSettings) else {}
    for earlier, now in renamed.items():
        if (prefix + earlier).upper() in there:
            yield f"  {(prefix + earlier).upper()}: is now {(prefix + now).upper()}: rename the variable"


def _line(kind: type[BaseSettings], location: tuple[int | str, ...], message: str) -> str:
    name = str(location[0]) if location else ""
    field = kind.model_fields.get(name)
    meaning = f" ({field.description})" if field is not None and field.description else ""
    return f"  {(env_prefix(kind) + name).upper()}: {message}{meaning}"
