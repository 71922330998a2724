"""What retention needs of others."""

from tidemill_core.application import Aggregates
from tidemill_monitor.retention.domain import Retention

Retentions = Aggregates[Retention]
