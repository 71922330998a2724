"""The consumer of audited calls and of decisions."""

from typing import Any

from tidemill_kit.audit.trail import RECORDED, TOPIC
from tidemill_kit.erasure.erasures import REQUESTS
from tidemill_kit.events.cloudevents import CloudEvent
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription
from tidemill_kit.runtime import telemetry
from tidemill_monitor.audit.append_record import AppendRecord
from tidemill_monitor.audit.domain import DECISIONS, DecisionEvent
from tidemill_monitor.events import monitor
from tidemill_monitor.events.meta import EventMeta
from tidemill_monitor.events.monitor import AuditRecorded
from tidemill_monitor.events.subscription import EVENT_TYPES, GATHER_S, TOPICS, model_of
from tidemill_monitor.metrics import AUDIT_RECORDS

_SOURCE = "/tidemill/"


def audit(append: AppendRecord, *, topics: tuple[str, ...] = (*TOPICS, REQUESTS, TOPIC)) -> Subscription:
    """Return the subscription. Events of one project are handled one after the other, as its chain is appended to."""

    async def call(context: EventContext, body: Any) -> None:  # noqa: ANN401 - the model is made from the dataclass
        recorded: AuditRecorded = body.root
        _count("call", new=await append.call(_event(context), recorded))

    async def decision(context: EventContext, body: Any) -> None:  # noqa: ANN401 - of any type
        meta = EventMeta(type=context.type, time=context.time)
        _count("decision", new=await append.decision(_event(context), meta, body.root))

    types = {**EVENT_TYPES, **monitor.TYPES}
    routes = {ce_type: Route(model_of(types[ce_type]), decision) for ce_type in DECISIONS}
    return Subscription(
        name="monitor.audit",
        topics=topics,
        delivery=Delivery.ONCE,
        routes={**routes, RECORDED: Route(model_of(AuditRecorded), call)},
        order_by=_project,
        gather_s=GATHER_S,
        of_deleted=True,  # the chain of a deleted project stays, and grows by its end
    )


def _project(event: CloudEvent) -> str:
    return event.project


def _event(context: EventContext) -> DecisionEvent:
    return DecisionEvent(
        id=context.request.id,
        project=context.project,
        service=context.source.removeprefix(_SOURCE),
        subject=context.subject,
        seq=context.seq,
        data=context.data,
        trace_id=telemetry.trace_id(),
    )


def _count(kind: str, *, new: bool) -> None:
    if new:
        AUDIT_RECORDS.labels(kind).inc()
