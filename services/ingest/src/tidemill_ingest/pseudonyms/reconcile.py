"""Puts the keys of projects under the operator's newest key, after it was put first."""

from datetime import timedelta

import structlog

from tidemill_core.application import Requeue, ResourceKey
from tidemill_core.errors import PreconditionFailed
from tidemill_ingest.pseudonyms.project_secrets import KeepProjectSecrets
from tidemill_kit.workers.controller import Controller, Pending

POLL_INTERVAL = timedelta(hours=1)
"""Keys change with a restart, which finds all; later ones come from replicas that ran on with the keys before."""
_log = structlog.get_logger(__name__)


def rewrapping(secrets: KeepProjectSecrets, pending: Pending[ResourceKey]) -> Controller[ResourceKey]:
    """Return the controller."""

    async def reconcile(key: ResourceKey, _epoch: int) -> Requeue | None:
        try:
            await secrets.rewrap(key)
        except PreconditionFailed as error:  # the operator has to act, and to restart
            _log.error("pseudonym_key_not_rewrapped", project=key.project, reason=error.reason, why=error.message)
        else:
            _log.info("pseudonym_key_rewrapped", project=key.project)
        return None

    return Controller(
        "pseudonym-key-rewrapping", reconcile=reconcile, pending=pending, max_concurrent=1, poll_interval=POLL_INTERVAL
    )
