"""Append a record to its chain."""

from dataclasses import dataclass

from tidemill_core.audit import Record
from tidemill_core.errors import InvalidInput
from tidemill_monitor.audit.domain import INSTALLATION, DecisionEvent, call_record, decision_record
from tidemill_monitor.audit.ports import Chains
from tidemill_monitor.events.meta import EventMeta
from tidemill_monitor.events.monitor import AuditRecorded

_NO_PROJECT = "installation"
"""The project that the event of a record without one names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendRecord:
    """Records of one project stand in one chain, in the order of their arrival."""

    chains: Chains

    async def call(self, event: DecisionEvent, body: AuditRecorded) -> bool:
        """Append the record of a call; return False of one that is there.

        Raises:
            InvalidInput: it names another project than its event.

        """
        if event.project != (body.record.project or _NO_PROJECT):
            message = f"the record is of project {body.record.project!r}, and its event of {event.project!r}"
            raise InvalidInput(message)
        return await self._append(body.record.project, event, call_record(body.record, service=event.service))

    async def decision(self, event: DecisionEvent, meta: EventMeta, body: object) -> bool:
        """Append the record of a decision; return False of one that is there."""
        return await self._append(event.project, event, decision_record(meta, body, event=event))

    async def _append(self, project: str, event: DecisionEvent, record: Record) -> bool:
        return await self.chains.append(project or INSTALLATION, event.id, record)
