"""How holds are stored."""

from tidemill_kit.mapping import DocumentCodec
from tidemill_monitor.holds.domain import Hold
from tidemill_monitor.holds.messages import hold_payload

HOLDS = DocumentCodec(Hold, event=hold_payload)
LISTS = [("state",)]
