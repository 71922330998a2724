"""Puts the HTTP API together."""

from datetime import timedelta

from tidemill.feedback.v1.feedback_service_pb2_grpc import FeedbackServiceStub
from tidemill_core.application import SystemClock
from tidemill_inference.openai_api.feedback import RemoteFeedback
from tidemill_inference.openai_api.routes import Answering, OpenAiApi
from tidemill_inference.served_models.ports import ServedModels
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.http.feedback import HttpFeedback, feedback_tokens
from tidemill_kit.http.server import HttpServer, server_of
from tidemill_kit.service.backend import Backend


def wire_openai_api(
    settings: InferenceSettings, backend: Backend, *, answer: Answering, models: ServedModels
) -> HttpServer:
    """Return the server of the OpenAI-compatible API."""
    api = OpenAiApi(
        answer,
        models,
        feedback=_feedback(settings, backend),
        max_body_bytes=settings.max_body_bytes,
        dependencies=backend.dependencies,
        keep_alive_s=settings.http_keep_alive_s,
        cors_origins=settings.cors_origins,
        hosts=settings.served_hosts,
        principals_from=settings.http_principals,
        access=backend.access,
        admission=backend.admission,
    )
    return server_of(api.app(), settings)


def _feedback(settings: InferenceSettings, backend: Backend) -> HttpFeedback:
    service, timeout_s = None, settings.call_timeout_s
    if settings.feedback_address:
        service = FeedbackServiceStub(backend.channel("feedback", settings.feedback_address, timeout_s=timeout_s))
    return HttpFeedback(
        rpcs=RemoteFeedback(service=service, timeout_s=timeout_s),
        tokens=feedback_tokens(settings.feedback_token_key, lifetime=timedelta(days=settings.feedback_token_days)),
        setting="INFERENCE_FEEDBACK_TOKEN_KEY",
        clock=SystemClock(),
        max_body_bytes=settings.max_body_bytes,
    )
