"""Settings of monitor."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from tidemill_kit.http.settings import RpcHttpSettings
from tidemill_kit.runtime.separated import Separated

_TOPIC_DAYS = 30


class MonitorSettings(RpcHttpSettings):
    """Settings of monitor, read from MONITOR_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="MONITOR_")

    renamed: ClassVar[Mapping[str, str]] = {
        "max_concurrent_batches": "batch_max_concurrent",
        "retry_s": "batch_poll_interval_s",
        "lease_s": "lease_ttl_s",
    }
    opens_deleted_projects: ClassVar[bool] = True  # it has their erasures and certificates

    http_port: int = Field(0, ge=0, le=65535)
    """The port of the HTTP API; 0 serves none."""
    mongo_database: str = "monitor"
    """The database, which belongs to monitor alone."""
    feedback_bucket: str = "tidemill-feedback-exchange"
    """The bucket where feedback hands over examples."""
    max_batch_bytes: int = Field(default=256 * 1024**2, ge=1)
    """The largest batch of examples that is read; it is in memory meanwhile."""
    batch_max_concurrent: int = Field(default=1, ge=1, le=16)
    """How many batches are read at the same time."""
    batch_poll_interval_s: float = Field(default=30.0, gt=0)
    """Resync interval of batches that wait to be read."""
    list_length: int = Field(default=50, ge=1, le=100_000)
    """How many neighbours stand in one document."""
    nodes_of_kind: int = Field(default=50, ge=1, le=1000)
    """Default number of nodes of a kind in a response."""
    max_nodes_of_kind: int = Field(default=1000, ge=1, le=1000)
    """Maximum number of nodes of a kind in a response."""
    depth: int = Field(default=8, ge=1, le=32)
    """Default number of steps of a traversal."""
    max_depth: int = Field(default=32, ge=1, le=100)
    """Maximum number of steps of a traversal."""
    timeline_entries: int = Field(default=1000, ge=1, le=10_000)
    """Maximum entries of a timeline; the oldest are left out. Ten times as many nodes are read for them."""
    inference_days: int = Field(default=0, ge=0, le=3650)
    """Days after which answers without feedback are deleted; 0 keeps them."""
    sweep_every_s: float = Field(default=86_400.0, gt=0)
    """The interval of the deletion of old answers."""
    count_every_s: float = Field(default=3600.0, gt=0)
    """The interval of reading the counts for the metrics."""
    count_s: float = Field(default=600.0, gt=0)
    """Time limit of the one-time count of a graph without stored counts."""
    metric_projects: int = Field(default=100, ge=1, le=10_000)
    """How many projects get a label of their own in the metrics."""
    audit_bucket: str = "tidemill-monitor-audit"
    """The bucket of the anchors of audit chains. Lock its objects against deletion where the store can."""
    anchor_interval_s: float = Field(default=3600.0, gt=0)
    """The interval of anchoring the ends of audit chains."""
    audit_days: int = Field(default=0, ge=0, le=36_500)
    """Days after which audit records are deleted, up to an anchor; 0 keeps them. More than topics keep events (30)."""
    certificate_bucket: str = "tidemill-monitor-certificates"
    """The bucket of the certificates of erasures. Lock its objects against deletion where the store can."""
    certificate_poll_interval_s: float = Field(default=30.0, gt=0)
    """Resync interval of projects that are being deleted, and of erasures that wait for their certificate."""
    erasure_due_hours: int = Field(default=24, ge=1, le=24 * 30)
    """Hours after which an erasure that is not completed is overdue."""
    overdue_check_interval_s: float = Field(default=300.0, gt=0)
    """The interval of checking for erasures that are overdue."""
    retention_min_days: int = Field(default=1, ge=1, le=3650)
    """The shortest time for which a project may keep its data."""
    retention_max_days: int = Field(default=3650, ge=1, le=36_500)
    """The longest time for which a project may keep its data."""
    signing_keys_file: Annotated[Path | None, BeforeValidator(lambda given: given or None)] = None
    """A JSON Web Key Set of private keys, which its owner alone may read: the first signs tokens, all are published.

    Without it no API keys are issued, and no tokens of people are exchanged.
    """
    issuer: str = ""
    """The issuer that tokens name: the address of monitor's HTTP API, where the public keys are found."""
    token_lifetime_s: float = Field(default=3600.0, ge=60, le=3600)
    """How long the token of a person lasts."""
    max_key_lifetime_days: int = Field(default=365, ge=1, le=365)
    """The longest lifetime of an API key."""
    identity_provider: str = ""
    """The issuer of the identity provider by which people log in (OpenID Connect discovery); empty for none."""
    identity_client_id: str = ""
    """The client that is registered at the identity provider for `tidemill login`."""
    identity_subject_claim: Literal["sub", "email"] = "sub"
    """The claim of an ID token by which members are named: `user:<claim>`. An email has to be a verified one."""
    identity_groups_claim: str = "groups"
    """The claim of an ID token with the names of the groups."""
    installation_admins: Separated = ()
    """Comma-separated `user:<name>` and `group:<name>` of the identity provider that are an admin of all projects."""
    max_projects: int = Field(default=1000, ge=1, le=100_000)
    """Maximum number of projects."""
    max_members: int = Field(default=1000, ge=1, le=5000)
    """Maximum number of members per project; groups count as one."""
    max_service_accounts: int = Field(default=200, ge=1, le=10_000)
    """Maximum number of service accounts per project."""
    max_api_keys: int = Field(default=1000, ge=1, le=100_000)
    """Maximum number of API keys per project, revoked and expired ones too, until they are deleted."""
    max_grants: int = Field(default=1000, ge=1, le=100_000)
    """Maximum number of grants that a project gives."""
    max_holds: int = Field(default=1000, ge=1, le=10_000)
    """Maximum number of legal holds per project, released ones too."""
    max_roles: int = Field(default=100, ge=1, le=1000)
    """Maximum number of a project's own roles."""

    @field_validator("audit_days")
    @classmethod
    def _longer_than_topics(cls, value: int) -> int:
        """Refuse what would forget records whose events may come again."""
        if 0 < value <= _TOPIC_DAYS:
            message = f"is {value}: use more than {_TOPIC_DAYS}, for which topics keep events, or 0"
            raise ValueError(message)
        return value

    @field_validator("issuer", "identity_provider")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in {"http", "https"} or not parts.netloc or parts.query or parts.fragment):
            message = "must be an http or https address without query, such as https://tidemill.example.org"
            raise ValueError(message)
        return value

    @field_validator("issuer")
    @classmethod
    def _without_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @field_validator("installation_admins")
    @classmethod
    def _subjects(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [each for each in value if not each.startswith(("user:", "group:"))]:
            message = f"has {wrong[0][:80]!r}: write user:<name> or group:<name>"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.retention_min_days > self.retention_max_days:
            message = "RETENTION_MIN_DAYS must not exceed RETENTION_MAX_DAYS"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _issues_in_a_name(self) -> Self:
        if self.signing_keys_file is not None and not self.issuer:
            message = "SIGNING_KEYS_FILE needs ISSUER: the address at which services find the public keys"
            raise ValueError(message)
        if bool(self.identity_provider) != bool(self.identity_client_id):
            message = "IDENTITY_PROVIDER and IDENTITY_CLIENT_ID belong together: set both, or none"
            raise ValueError(message)
        return self
