"""How retention is stored."""

from tidemill_kit.mapping import DocumentCodec
from tidemill_monitor.retention.domain import Retention
from tidemill_monitor.retention.messages import retention_payload

RETENTION = DocumentCodec(Retention, event=retention_payload)
