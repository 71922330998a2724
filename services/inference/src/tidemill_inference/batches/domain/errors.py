"""What can go wrong with batches.

NotFound
└── BatchNotFound
Conflict
└── BatchLeaseLost          another worker works on the batch
"""

from tidemill_core.errors import Conflict, NotFound


class BatchNotFound(NotFound):
    """No batch with this id in the caller's project."""

    reason = "BATCH_NOT_FOUND"

    def __init__(self, batch: str) -> None:
        super().__init__(f"there is no batch {batch} in this project", batch=batch)


class BatchLeaseLost(Conflict):
    """Another worker has the batch, or it is at its end."""

    reason = "BATCH_LEASE_LOST"

    def __init__(self, batch: str) -> None:
        super().__init__(f"another worker goes on with batch {batch}, or it has ended", batch=batch)
