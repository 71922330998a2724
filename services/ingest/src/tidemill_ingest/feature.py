"""What one feature adds to the app."""

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill_kit.events.subscriptions import Subscription
from tidemill_kit.grpc.server import Registration
from tidemill_kit.service.app import Component


@dataclass(frozen=True, slots=True, kw_only=True)
class Wired:
    """A feature, put together."""

    servicer: Registration
    consumers: Sequence[Subscription] = ()
    components: Sequence[Component] = ()
    workers: Sequence[Component] = ()
