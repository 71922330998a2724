"""Wires the reactions: their stores, use cases and entry points."""

from dataclasses import dataclass
from datetime import timedelta

import grpc
from starlette.routing import Route

from tidemill_core.application import Caller, ResourceKey, SystemClock
from tidemill_feedback.metrics.find_metric import FindMetric
from tidemill_feedback.reactions.crud import FeedbackCrud
from tidemill_feedback.reactions.dead_letters import DeadSubmissions
from tidemill_feedback.reactions.erase_end_user import EraseEndUser, EraseReactions
from tidemill_feedback.reactions.erase_late import EraseLate
from tidemill_feedback.reactions.events import DEAD_LETTERS, SUBMISSIONS, Submissions
from tidemill_feedback.reactions.expire_pending import ExpirePending
from tidemill_feedback.reactions.grpc import GrpcFeedbackService
from tidemill_feedback.reactions.handle_submission import HandleSubmission
from tidemill_feedback.reactions.http import OwnRpcs
from tidemill_feedback.reactions.inference import InferenceAnswers
from tidemill_feedback.reactions.match_pending import MatchPending
from tidemill_feedback.reactions.mongo_pending import MongoPending
from tidemill_feedback.reactions.ports import EraseReviews, FeedbackStore, ForgetExamples, Pending
from tidemill_feedback.reactions.read_figures import ReadFigures
from tidemill_feedback.reactions.submit_feedback import SubmitFeedback
from tidemill_feedback.settings import FeedbackSettings
from tidemill_kit.http.feedback import HttpFeedback, feedback_tokens
from tidemill_kit.http.rpc import HttpRpcs
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller


@dataclass(frozen=True, slots=True, kw_only=True)
class WiredReactions:
    """What `app.py` needs of reactions."""

    servicer: GrpcFeedbackService
    submissions: Submissions
    match: MatchPending
    pending: Pending
    erase: EraseReactions
    expiry: Controller[ResourceKey]


def wire_reactions(  # noqa: PLR0913 - what the features give each other
    settings: FeedbackSettings,
    backend: Backend,
    feedback: FeedbackStore,
    inference: grpc.aio.Channel,
    *,
    metric: FindMetric,
    forget_examples: ForgetExamples,
    erase_reviews: EraseReviews,
) -> WiredReactions:
    """Return entry points, and the controller that expires pending reactions."""
    clock, answers = SystemClock(), InferenceAnswers(inference)
    quota = settings.quota("pending_inferences", remedy="send it again once the inference is completed")
    pending = backend.indexed(MongoPending(backend.database["pending"], maximum=settings.max_pending, quota=quota))
    dead_letters = DeadSubmissions(backend.publisher, topic=DEAD_LETTERS, consumer=SUBMISSIONS)
    submit = SubmitFeedback(
        feedback=feedback,
        inferences=answers,
        metric=metric,
        clock=clock,
        limits=settings.limits,
        keep=settings.kept_reactions,
        trusted=settings.trusted_raters,
        deleted=backend.access.revocations.deleted,
    )
    erased, erase = backend.erased.end_users, EraseReactions(feedback=feedback, forget_examples=forget_examples)
    match = MatchPending(
        pending=pending,
        inferences=answers,
        submit=submit,
        dead_letters=dead_letters,
        erased=erased,
        late=EraseLate(reactions=erase, erased=erased),
    )
    servicer = GrpcFeedbackService(
        feedback=FeedbackCrud(feedback=feedback, pending=pending, clock=clock, keep=settings.kept_reactions),
        submit=submit,
        erase=EraseEndUser(pending=pending, reactions=erase, reviews=erase_reviews, inferences=answers),
        clock=clock,
    )
    return WiredReactions(
        servicer=servicer,
        submissions=Submissions(
            take=HandleSubmission(submit=submit, match=match, pending=pending, clock=clock),
            record_bytes=settings.max_record_bytes,
        ),
        match=match,
        pending=pending,
        erase=erase,
        expiry=_expiry(settings, backend, match, pending),
    )


def wire_figures(settings: FeedbackSettings, feedback: FeedbackStore, metric: FindMetric) -> ReadFigures:
    """Return what reads values of metrics."""
    return ReadFigures(feedback=feedback, metric=metric, clock=SystemClock(), max_values=settings.max_figure_values)


def wire_http(settings: FeedbackSettings, rpcs: HttpRpcs) -> list[Route]:
    """Return the HTTP API of reactions."""
    api = HttpFeedback(
        rpcs=OwnRpcs(rpcs=rpcs),
        tokens=feedback_tokens(settings.token_key),
        setting="FEEDBACK_TOKEN_KEY",
        clock=SystemClock(),
        max_body_bytes=settings.max_body_bytes,
    )
    return api.routes()


def _expiry(
    settings: FeedbackSettings, backend: Backend, match: MatchPending, pending: Pending
) -> Controller[ResourceKey]:
    expire = ExpirePending(
        pending=pending,
        match=match,
        dead_letters=match.dead_letters,
        clock=SystemClock(),
        wait=timedelta(seconds=settings.pending_wait_s),
    )
    return Controller(
        "pending",
        reconcile=lambda key, _: expire(Caller.of_service(key.project, "feedback"), key.id),
        pending=expire.expired,
        leases=backend.leases("pending_leases"),
        max_concurrent=1,
        poll_interval=timedelta(seconds=settings.pending_poll_interval_s),
    )
