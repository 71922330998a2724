"""Puts together what notices that a provider answers as another model."""

from datetime import timedelta

from tidemill_core.application import SystemClock
from tidemill_core.errors import NotFound
from tidemill_inference.providers.mongo import REMOTE_MODELS
from tidemill_inference.providers.notice_changes import NoticeProviderChanges
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.service.backend import Backend


def wire_providers(settings: InferenceSettings, backend: Backend) -> NoticeProviderChanges:
    """Return what notices; its events are on the topic of deployments, whose consumers they concern."""
    return NoticeProviderChanges(
        models=backend.aggregates(
            "remote_models", REMOTE_MODELS, missing=NotFound, topic="tidemill.inference.deployment.v1"
        ),
        clock=SystemClock(),
        min_interval=timedelta(seconds=settings.provider_change_interval_s),
        deleted=backend.access.revocations.deleted,
    )
