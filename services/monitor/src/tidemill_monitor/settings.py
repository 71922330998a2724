"""Settings of monitor."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from tidemill_kit.runtime.settings import ServiceSettings


class MonitorSettings(ServiceSettings):
    """Settings of monitor, read from MONITOR_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="MONITOR_")

    renamed: ClassVar[Mapping[str, str]] = {
        "max_concurrent_batches": "batch_max_concurrent",
        "retry_s": "batch_poll_interval_s",
        "lease_s": "lease_ttl_s",
    }

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
