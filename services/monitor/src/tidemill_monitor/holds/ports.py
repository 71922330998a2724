"""What holds need of others."""

from tidemill_core.application import Aggregates
from tidemill_monitor.holds.domain import Hold

Holds = Aggregates[Hold]
