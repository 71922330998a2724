"""Deployments."""

from tidemill_core.application import Aggregates
from tidemill_inference.deployments.domain.deployment import Deployment

Deployments = Aggregates[Deployment]
