"""The composition root: the only module that sees all features."""

from functools import partial
from typing import TYPE_CHECKING

from tidemill.feedback.v1.curation_service_pb2_grpc import add_CurationServiceServicer_to_server
from tidemill.feedback.v1.feedback_metric_service_pb2_grpc import add_FeedbackMetricServiceServicer_to_server
from tidemill.feedback.v1.feedback_service_pb2_grpc import add_FeedbackServiceServicer_to_server
from tidemill.feedback.v1.review_service_pb2_grpc import add_ReviewServiceServicer_to_server
from tidemill_feedback.curations.events import corrections
from tidemill_feedback.curations.grpc import GrpcCurationService
from tidemill_feedback.curations.wiring import wire_curations
from tidemill_feedback.erasure import joined, review_steps, steps, wire_sweeps
from tidemill_feedback.errors import FeedbackNotFound
from tidemill_feedback.maturity.wiring import wire_maturity
from tidemill_feedback.metrics.wiring import wire_metrics
from tidemill_feedback.reactions.events import inferences
from tidemill_feedback.reactions.messages import TOPIC
from tidemill_feedback.reactions.mongo import FEEDBACK, LISTS
from tidemill_feedback.reactions.wiring import wire_figures, wire_http, wire_reactions
from tidemill_feedback.reviews.events import answers
from tidemill_feedback.reviews.wiring import wire_reviews
from tidemill_feedback.settings import FeedbackSettings
from tidemill_kit.http.rpc import HttpRpcs, rpc_application
from tidemill_kit.http.server import server_of
from tidemill_kit.service.app import App
from tidemill_kit.service.backend import Backend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tidemill_kit.grpc.server import Registration


async def build_app(settings: FeedbackSettings) -> App:
    """Put feedback together, on the event loop that it will live on. Nothing is connected yet."""
    backend = Backend(settings, serves_without_objects=True)
    feedback = backend.aggregates("feedback", FEEDBACK, missing=FeedbackNotFound, topic=TOPIC, lists=LISTS)
    inference = backend.channel("inference", settings.inference_address)
    reviews = wire_reviews(settings, backend, inference)
    curations = wire_curations(settings, backend, feedback, inference)
    metrics = wire_metrics(settings, backend, partial(wire_figures, settings, feedback))
    reactions = wire_reactions(
        settings,
        backend,
        feedback,
        inference,
        metric=metrics.find,
        forget_examples=curations.forget_examples,
        erase_reviews=reviews.erase.of_end_user,
    )
    maturity = wire_maturity(settings, backend, metrics.find, reactions.match)
    servicers: Sequence[Registration] = [
        (add_FeedbackServiceServicer_to_server, reactions.servicer),
        (add_CurationServiceServicer_to_server, GrpcCurationService(curations=curations.crud)),
        (add_FeedbackMetricServiceServicer_to_server, metrics.servicer),
        (add_ReviewServiceServicer_to_server, reviews.servicer),
    ]
    rpcs = HttpRpcs(servicers, settings, admission=backend.admission, access=backend.access, audit=backend.audit)
    routes = wire_http(settings, rpcs)
    http = rpc_application(rpcs, settings, dependencies=backend.dependencies, routes=routes)
    topics = [settings.submission_topic]
    verify = backend.submission_check(topics, tolerance_s=settings.submission_tolerance_s)
    return backend.app(
        servicers=servicers,
        consumers=[
            reactions.submissions.subscription(topics, verify=verify),
            inferences(reactions.match, maturity.expect),
            corrections(curations.record),
            answers(reviews.sample),
        ],
        workers=[
            curations.controller,
            reactions.expiry,
            reviews.controller,
            maturity.controller,
            wire_sweeps(settings, backend, feedback, reactions.erase, reviews.erase),
        ],
        servers=[server_of(http, settings)] if settings.http_port else [],
        erasures=joined(
            steps(settings, backend, reactions.pending, reactions.erase), review_steps(backend, reviews.erase)
        ),
    )
