"""Secrets as documents, and those that an earlier key of the operator still encrypts."""

from tidemill_inference.secrets.domain.secret import Secret
from tidemill_kit.mapping import DocumentCodec
from tidemill_kit.store.mongo import Collection
from tidemill_kit.workers.pending import PendingDocuments

SECRETS = DocumentCodec(Secret)


def under_other_keys(collection: Collection, first: str) -> PendingDocuments:
    """Return what finds the secrets that are not under the first key."""
    where = {"deleted": False, "state.envelope.key_id": {"$ne": first}}
    return PendingDocuments(collection, where, index="state.envelope.key_id")
