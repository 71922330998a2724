"""Puts secrets under the operator's newest key, after it was put first."""

from datetime import timedelta

import structlog

from tidemill_core.application import Requeue, ResourceKey
from tidemill_core.errors import PreconditionFailed
from tidemill_inference.secrets.crud import SecretCrud
from tidemill_kit.workers.controller import Controller, Pending

POLL_INTERVAL = timedelta(hours=1)
"""Keys change with a restart, which finds all; later ones come from replicas that ran on with the keys before."""
_log = structlog.get_logger()


def rewrapping(crud: SecretCrud, pending: Pending[ResourceKey]) -> Controller[ResourceKey]:
    """Return the controller."""

    async def reconcile(key: ResourceKey, _epoch: int) -> Requeue | None:
        try:
            await crud.rewrap(key)
        except PreconditionFailed as error:  # the operator has to act, and to restart
            _log.error("secret_not_rewrapped", project=key.project, reason=error.reason, why=error.message)
        else:
            _log.info("secret_rewrapped", project=key.project)
        return None

    return Controller(
        "secret-rewrapping", reconcile=reconcile, pending=pending, max_concurrent=1, poll_interval=POLL_INTERVAL
    )
