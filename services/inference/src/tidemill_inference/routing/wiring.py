"""Puts routing together."""

from dataclasses import dataclass

from tidemill_inference.engines.ports import Engines, Models
from tidemill_inference.routing.asking import AskModel
from tidemill_inference.routing.endpoints import Endpoints
from tidemill_inference.routing.observed import RoutingMetrics
from tidemill_inference.routing.route import RouteModels
from tidemill_inference.settings import InferenceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingParts:
    """What has models answer, and what it knows of them."""

    router: RouteModels
    endpoints: Endpoints
    ask: AskModel


def wire_routing(settings: InferenceSettings, models: Models, engines: Engines) -> RoutingParts:
    """Return the routing of this process."""
    observe = RoutingMetrics()
    endpoints = Endpoints(observe, threshold=settings.circuit_failures, open_s=settings.circuit_open_s)
    router = RouteModels(models=models, endpoints=endpoints, observe=observe, retries=settings.remote_retries)
    ask = AskModel(models=models, router=router, engines=engines)
    return RoutingParts(router=router, endpoints=endpoints, ask=ask)
