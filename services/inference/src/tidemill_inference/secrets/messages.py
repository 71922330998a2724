"""Secrets as messages of the contract, which have no field for a value."""

from tidemill.inference.v1 import secret_pb2
from tidemill_inference.secrets.domain import Secret
from tidemill_inference.secrets.ports import Operators
from tidemill_kit.mapping import to_message


def secret_message(secret: Secret, operators: Operators) -> secret_pb2.Secret:
    """Return the whole resource."""
    return to_message(secret_pb2.Secret, secret, overridden=operators.has(secret.project, secret.id))
