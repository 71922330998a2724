"""Puts encrypted values of aggregates under the operator's newest key, after it was put first."""

from datetime import timedelta
from typing import TypeVar

import structlog

from tidemill_core.application import Aggregates, Request, ResourceKey
from tidemill_core.envelope import Encrypted, Seals
from tidemill_core.errors import NotFound, PreconditionFailed
from tidemill_kit.store.mongo import Collection
from tidemill_kit.workers.controller import Controller, Pending
from tidemill_kit.workers.pending import PendingDocuments

POLL_INTERVAL = timedelta(hours=1)
"""Keys change with a restart, which finds all; later ones come from replicas that ran on with the keys before."""
_KEY_ID = "state.envelope.key_id"
_log = structlog.get_logger(__name__)
E = TypeVar("E", bound=Encrypted)


def under_other_keys(collection: Collection, first: str) -> PendingDocuments:
    """Return what finds the aggregates whose value an earlier key of the operator still encrypts."""
    return PendingDocuments(collection, {"deleted": False, _KEY_ID: {"$ne": first}}, index=_KEY_ID)


async def rewrap(aggregates: Aggregates[E], seals: Seals, key: ResourceKey) -> None:
    """Put one value under the first of the operator's keys; it is not decrypted for it.

    Raises:
        PreconditionFailed: the key that it is under is missing.

    """

    def change(aggregate: E) -> None:
        if aggregate.envelope is not None:
            aggregate.envelope = seals.rewrap(aggregate.envelope)

    try:
        await aggregates.update(key.project, key.id, change, request=Request.internal())
    except NotFound:
        return  # deleted, or its project erased, meanwhile


def rewrapping(
    kind: str, aggregates: Aggregates[E], seals: Seals, pending: Pending[ResourceKey]
) -> Controller[ResourceKey]:
    """Return the controller; it names what it rewraps by its kind."""

    async def reconcile(key: ResourceKey, _epoch: int) -> None:
        try:
            await rewrap(aggregates, seals, key)
        except PreconditionFailed as error:  # the operator has to act, and to restart
            _log.error("envelope_not_rewrapped", kind=kind, project=key.project, reason=error.reason, why=error.message)
        else:
            _log.info("envelope_rewrapped", kind=kind, project=key.project)

    return Controller(
        f"{kind}-rewrapping", reconcile=reconcile, pending=pending, max_concurrent=1, poll_interval=POLL_INTERVAL
    )
