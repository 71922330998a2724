"""The consumer of requested erasures: each becomes a row of the service's own."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel

from tidemill_core.application import Aggregates, Request, ResourceKey
from tidemill_core.errors import AlreadyExists, InvalidInput
from tidemill_kit.access.holds import Scope
from tidemill_kit.erasure.erasures import REQUESTS, Erasure
from tidemill_kit.events.bodies import without_prefix
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription

REQUESTED = "tidemill.monitor.erasure.requested.v1"


class ErasureRequested(BaseModel):
    """The fields of erasure.requested."""

    id: str
    project: str
    scope: Annotated[Scope, without_prefix("ERASURE_SCOPE_")]
    subject: str = ""
    request_time: datetime
    not_before: datetime


def requests(service: str, erasures: Aggregates[Erasure], enqueue: Callable[[ResourceKey], None]) -> Subscription:
    """Return the subscription of a service."""

    async def requested(context: EventContext, body: ErasureRequested) -> None:
        if body.project != context.project:
            raise InvalidInput.at(field="project", text="is not that of the event")
        erasure = Erasure(
            id=body.id,
            project=body.project,
            scope=body.scope,
            subject=body.subject,
            request_time=body.request_time,
            not_before=body.not_before,
        )
        try:
            _ = erasure.target
        except ValueError as error:
            raise InvalidInput.at(field="subject", text="does not fit the scope") from error
        with suppress(AlreadyExists):
            await erasures.add(erasure, request=Request.internal())
        enqueue(ResourceKey(project=body.project, id=body.id))

    return Subscription(
        name=f"{service}.erasure",
        topics=(REQUESTS,),
        delivery=Delivery.ONCE,
        routes={REQUESTED: Route(ErasureRequested, requested)},
        of_deleted=True,
    )
