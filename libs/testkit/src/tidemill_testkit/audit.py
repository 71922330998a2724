"""An audit trail in memory."""

from tidemill_kit.audit.calls import AuditedCall
from tidemill_kit.audit.trail import AuditUnavailable


class RecordedCalls:
    """Implements `tidemill_kit.audit.trail.AuditTrail`; `down` says that nothing can be stored."""

    def __init__(self) -> None:
        self.intents: list[AuditedCall] = []
        self.ended: list[AuditedCall] = []
        self.down = False

    async def begin(self, call: AuditedCall) -> None:
        """See `AuditTrail`."""
        self._check()
        self.intents.append(call)
        call.begun = True

    async def finish(self, call: AuditedCall) -> None:
        """See `AuditTrail`."""
        self._check()
        self.ended.append(call)
        call.recorded = True

    def end(self, call: AuditedCall) -> None:
        """See `AuditTrail`."""
        if not call.recorded:
            self.ended.append(call)

    def _check(self) -> None:
        if self.down:
            raise AuditUnavailable
