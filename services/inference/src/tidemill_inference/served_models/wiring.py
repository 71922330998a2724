"""Puts together what shows the served models."""

from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.engines.ports import Models
from tidemill_inference.served_models.read_served_models import ReadServedModels
from tidemill_inference.served_models.registry_facts import Declares, RegistryFacts
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.service.backend import Backend


def wire_served_models(
    settings: InferenceSettings, backend: Backend, *, deployments: Deployments, models: Models, declares: Declares
) -> ReadServedModels:
    """Return what reads them."""
    facts = RegistryFacts(
        backend.bucket(settings.model_bucket),
        cache_tokens=settings.engine_cache_tokens,
        adapter_cache_tokens=settings.engine_adapter_cache_tokens,
        declares=declares,
    )
    return ReadServedModels(deployments=deployments, models=models, facts=facts)
