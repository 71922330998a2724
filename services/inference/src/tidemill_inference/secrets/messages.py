"""Secrets as messages of the contract, which have no field for a value."""

from collections.abc import Collection

from tidemill.inference.v1 import secret_pb2
from tidemill_inference.secrets.domain.secret import Secret
from tidemill_kit.mapping import to_message


def secret_message(secret: Secret, overridden: Collection[str]) -> secret_pb2.Secret:
    """Return the whole resource; `overridden` are the names that the operator's secrets win over."""
    return to_message(secret_pb2.Secret, secret, overridden=secret.id in overridden)
