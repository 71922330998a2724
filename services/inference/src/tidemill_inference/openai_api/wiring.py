"""Puts the HTTP API together."""

from collections.abc import Sequence
from datetime import timedelta

from tidemill.feedback.v1.feedback_service_pb2_grpc import FeedbackServiceStub
from tidemill_core.application import SystemClock
from tidemill_inference.files.ports import ReadFile
from tidemill_inference.openai_api.batches import HttpBatches
from tidemill_inference.openai_api.feedback import RemoteFeedback
from tidemill_inference.openai_api.files import HttpFiles
from tidemill_inference.openai_api.responses.routes import HttpResponses, Reading
from tidemill_inference.openai_api.routes import Answering, OpenAiApi, Routed
from tidemill_inference.served_models.ports import ServedModels
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.grpc.server import Registration
from tidemill_kit.grpc.uploads import UploadPlaces
from tidemill_kit.http.feedback import HttpFeedback, feedback_tokens
from tidemill_kit.http.rpc import HttpRpcs
from tidemill_kit.http.server import HttpServer, server_of
from tidemill_kit.service.backend import Backend

_MB = 1024 * 1024


def wire_openai_api(  # noqa: PLR0913 - keyword-only, and each of another kind
    settings: InferenceSettings,
    backend: Backend,
    *,
    answer: Answering,
    models: ServedModels,
    feedback: HttpFeedback,
    further: Sequence[Routed],
) -> HttpServer:
    """Return the server of the OpenAI-compatible API."""
    api = OpenAiApi(
        answer,
        models,
        feedback=feedback,
        further=further,
        max_body_bytes=settings.max_body_bytes,
        dependencies=backend.dependencies,
        keep_alive_s=settings.http_keep_alive_s,
        cors_origins=settings.cors_origins,
        hosts=settings.served_hosts,
        principals_from=settings.http_principals,
        access=backend.access,
        admission=backend.admission,
        limits=settings.question_limits,
        max_concurrent_prompts=settings.completion_prompts_max_concurrent,
    )
    return server_of(api.app(), settings)


def wire_resources_api(  # noqa: PLR0913 - keyword-only, and each of another kind
    settings: InferenceSettings,
    backend: Backend,
    *,
    servicers: Sequence[Registration],
    reading: ReadFile,
    places: UploadPlaces,
    responses: Reading,
    feedback: HttpFeedback,
) -> Sequence[Routed]:
    """Return the routes of files, batches and stored responses, which call the RPCs of `servicers`."""
    rpcs = HttpRpcs(servicers, settings, admission=backend.admission, access=backend.access, audit=backend.audit)
    files = HttpFiles(
        rpcs=rpcs, reading=reading, places=places, limit=settings.file_max_mb * _MB, setting="INFERENCE_FILE_MAX_MB"
    )
    return files, HttpBatches(rpcs), HttpResponses(responses, rpcs, issue=feedback.token_of)


def wire_feedback(settings: InferenceSettings, backend: Backend) -> HttpFeedback:
    """Return the routes of reactions to answers."""
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
