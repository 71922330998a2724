"""Routing policies as messages of the contract."""

from tidemill.inference.v1 import routing_pb2
from tidemill_inference.routing.domain.policy import RoutingPolicy
from tidemill_kit.mapping import from_message


def routing_of(message: routing_pb2.RoutingPolicy) -> RoutingPolicy:
    """Return a policy, with defaults for what it leaves out.

    Raises:
        InvalidInput: the balance is none of those that there are.

    """
    return from_message(
        RoutingPolicy,
        message,
        prefix="deployment.routing",
        equal_models=dict(message.equal_models),
        weight=message.weight or 1,
    )
