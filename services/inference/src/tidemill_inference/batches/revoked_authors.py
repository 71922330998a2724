"""Whether who asked for a batch may still ask: by the revocations that every service reads."""

import math

from tidemill_inference.batches.domain.batch import Batch
from tidemill_kit.access.revocations import Revocations
from tidemill_kit.access.tokens import Claims


class RevokedAuthors:
    """Implements `ports.Authors`."""

    def __init__(self, revocations: Revocations) -> None:
        self._revocations = revocations

    def revoked(self, batch: Batch) -> bool:
        """See `Authors.revoked`. A credential that only expires ends no batch that it began."""
        author = batch.author
        if self._revocations.deleted(batch.project):
            return True
        if author.via or not author.credential or batch.create_time is None:
            return False
        claims = Claims(
            issuer="",
            subject=author.subject,
            project=batch.project,
            id=author.credential,
            issue_time=batch.create_time.timestamp(),
            expire_time=math.inf,
            roles=frozenset(author.roles),
            groups=frozenset(author.groups),
        )
        return self._revocations.names(claims)
