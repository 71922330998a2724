"""The consumer of monitor's revocations: a deleted project's data is deleted."""

from datetime import datetime

from pydantic import BaseModel

from tidemill_core.application import Caller
from tidemill_kit.events.subscriptions import Delivery, EventContext, Route, Subscription
from tidemill_rag.collections.erase_project import EraseProject

TOPIC = "tidemill.monitor.access.v1"
REVOKED = "tidemill.monitor.access.credentials_revoked.v1"
_PROJECT = "CREDENTIAL_KIND_PROJECT"


class CredentialsRevoked(BaseModel):
    """The fields of credentials_revoked that rag reads."""

    kind: str
    id: str
    revoke_time: datetime


def access(erase: EraseProject) -> Subscription:
    """Return the subscription. Revocations of keys and subjects are ignored: the edge handles them."""

    async def revoked(_: EventContext, body: CredentialsRevoked) -> None:
        if body.kind == _PROJECT:
            await erase(Caller.of_service(body.id, "rag"), revoke_time=body.revoke_time)

    return Subscription(
        name="rag.access",
        topics=(TOPIC,),
        delivery=Delivery.ONCE,
        routes={REVOKED: Route(CredentialsRevoked, revoked)},
    )
