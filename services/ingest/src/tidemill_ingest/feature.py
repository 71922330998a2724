"""What one feature adds to the app."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tidemill_kit.erasure.steps import Scope, Steps
from tidemill_kit.events.subscriptions import Subscription
from tidemill_kit.grpc.server import Registration
from tidemill_kit.service.app import Component


@dataclass(frozen=True, slots=True, kw_only=True)
class Wired:
    """A feature, put together."""

    servicer: Registration | None = None
    consumers: Sequence[Subscription] = ()
    components: Sequence[Component] = ()
    workers: Sequence[Component] = ()
    erasures: Steps = field(default_factory=dict)


def erasures_of(features: Sequence[Wired]) -> Steps:
    """Return what all features erase, in their order."""
    return {scope: [step for each in features for step in each.erasures.get(scope, ())] for scope in Scope}
