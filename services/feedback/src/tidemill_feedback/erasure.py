"""What is erased of a deleted project and of an end user, and what is removed by its age."""

from datetime import timedelta

from tidemill_core.application import Caller, SystemClock
from tidemill_feedback.curations.exchange import EraseBatches
from tidemill_feedback.reactions.erase_end_user import EraseReactions
from tidemill_feedback.reactions.forget_old import ForgetOldFeedback
from tidemill_feedback.reactions.mongo import MongoOldFeedback
from tidemill_feedback.reactions.ports import FeedbackStore, Pending
from tidemill_feedback.reviews.erase_items import EraseItems
from tidemill_feedback.reviews.forget_old import ForgetOldItems
from tidemill_feedback.settings import FeedbackSettings
from tidemill_kit.access.retention import RetentionKind
from tidemill_kit.erasure.documents import by_id, documents
from tidemill_kit.erasure.objects import objects
from tidemill_kit.erasure.retained import Retained
from tidemill_kit.erasure.steps import Scope, Step, Steps, Target
from tidemill_kit.service.backend import Backend
from tidemill_kit.store.mongo import Document
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.sweeps import SweepKey, sweep_controller


def steps(settings: FeedbackSettings, backend: Backend, pending: Pending, reactions: EraseReactions) -> Steps:
    """Return what is erased.

    Of an end user: the reactions, then the batches that they are in, and last the names by which both are found.
    Batches are searched also where no reaction is left: a killed completion may have put one behind the first pass.
    Of a document: the prompts that show passages of it; a correction of which the prompt is gone is no example any
    more.
    """
    batches = EraseBatches(backend.objects, settings.exchange_bucket)

    async def waiting(target: Target) -> int:
        return await pending.forget(target.project, target.subject)

    async def said(target: Target) -> int:
        return await reactions.some(_caller(target), target.subject)

    async def written(target: Target) -> int:
        erased = {each.id async for page in reactions.tombstones(_caller(target), target.subject) for each in page}
        return await batches.of(target.project, feedback=erased, end_user=target.subject)

    async def names(target: Target) -> int:
        return await reactions.names(_caller(target), target.subject)

    async def shown(target: Target) -> int:
        return await batches.of_document(target.project, target.subject)

    database = backend.database
    return {
        Scope.PROJECT: [
            documents("waiting reactions", database["pending"]),
            documents("reactions", database["feedback"]),
            documents("curations", database["curations"]),
            documents("metrics", database["metrics"]),
            documents("values that mature", database["expected"]),
            documents("examples", database["examples"]),
            documents("counts of curations", database["counts"]),
            documents("prompts of examples", database["prompts"]),
            objects("batches", backend.objects, settings.exchange_bucket),
        ],
        Scope.END_USER: [
            Step(kind="waiting reactions", erase=waiting),
            Step(kind="reactions", erase=said),
            Step(kind="batches", erase=written),
            Step(kind="names in reactions", erase=names),
        ],
        Scope.DOCUMENT: [
            documents("prompts of examples", database["prompts"], where=_showing),
            Step(kind="batches", erase=shown),
        ],
    }


def review_steps(backend: Backend, reviews: EraseItems) -> Steps:
    """Return what is erased of reviews: items about an end user or a document go with what was said of them."""

    async def of_end_user(target: Target) -> int:
        return await reviews.of_end_user(_caller(target), target.subject)

    async def of_document(target: Target) -> int:
        return await reviews.of_document(_caller(target), target.subject)

    database = backend.database
    return {
        Scope.PROJECT: [
            documents("review items", database["review_items"]),
            documents("review queues", database["review_queues"]),
        ],
        Scope.END_USER: [Step(kind="review items", erase=of_end_user)],
        Scope.DOCUMENT: [Step(kind="review items", erase=of_document)],
    }


def joined(*parts: Steps) -> Steps:
    """Return the steps of several features, one feature after the other."""
    return {scope: [step for part in parts for step in part.get(scope, ())] for scope in Scope}


def wire_sweeps(
    settings: FeedbackSettings,
    backend: Backend,
    feedback: FeedbackStore,
    reactions: EraseReactions,
    reviews: EraseItems,
) -> Controller[SweepKey]:
    """Return the sweeps of reactions with batches, and of review items, past the retention of their project."""
    retained = Retained(holds=backend.holds, retention=backend.retention, kind=RetentionKind.FEEDBACK)
    batches = EraseBatches(backend.objects, settings.exchange_bucket)
    forget = ForgetOldFeedback(
        feedback=feedback,
        old=MongoOldFeedback(backend.database["feedback"]),
        forget_examples=reactions.forget_examples,
        remove_batches=lambda project, before: batches.older(project, before=before),
        retained=retained,
        clock=SystemClock(),
    )
    forget_items = ForgetOldItems(erase=reviews, retained=retained, clock=SystemClock())
    return sweep_controller(
        {"old_feedback": forget, "old_review_items": forget_items},
        leases=backend.leases("sweep_leases"),
        poll_interval=timedelta(seconds=settings.sweep_poll_interval_s),
    )


def _caller(target: Target) -> Caller:
    return Caller.of_service(target.project, "feedback")


def _showing(target: Target) -> Document:
    return {**by_id(target), "prompt.passages.document": target.subject}
