"""Wires the reviews: their stores, use cases and entry points."""

import random
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import grpc

from tidemill_core.application import SystemClock
from tidemill_feedback.errors import ReviewItemNotFound, ReviewQueueNotFound
from tidemill_feedback.reviews.add_items import AddItems
from tidemill_feedback.reviews.claim_item import ClaimItem, ReleaseItem
from tidemill_feedback.reviews.crud import ReviewQueueCrud
from tidemill_feedback.reviews.domain.queue import EndedQueue
from tidemill_feedback.reviews.drop_items import DropItems
from tidemill_feedback.reviews.erase_items import EraseItems
from tidemill_feedback.reviews.grpc import GrpcReviewService
from tidemill_feedback.reviews.inference import InferenceRecords
from tidemill_feedback.reviews.kappa import NltkKappa
from tidemill_feedback.reviews.messages import TOPIC
from tidemill_feedback.reviews.mongo import (
    ITEM_LISTS,
    ITEMS,
    QUEUE_LISTS,
    QUEUES,
    MongoEndedQueues,
    RecentlyFull,
    RecentSampledQueues,
)
from tidemill_feedback.reviews.mongo_items import MongoItems
from tidemill_feedback.reviews.ports import ReviewItemStore, ReviewQueueStore
from tidemill_feedback.reviews.reconcile import ended_queues
from tidemill_feedback.reviews.report_queue import ReportQueue
from tidemill_feedback.reviews.sample_answers import SampleAnswers
from tidemill_feedback.reviews.store_item import StoreItem
from tidemill_feedback.reviews.submit_review import AdjudicateItem, SubmitReview
from tidemill_feedback.settings import FeedbackSettings
from tidemill_kit.erasure.steps import Scope
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller


@dataclass(frozen=True, slots=True, kw_only=True)
class WiredReviews:
    """What `app.py` needs of reviews."""

    servicer: GrpcReviewService
    sample: SampleAnswers
    erase: EraseItems
    controller: Controller[EndedQueue]


@dataclass(frozen=True, slots=True)
class _Stores:
    queues: ReviewQueueStore
    items: ReviewItemStore
    find: MongoItems
    store: StoreItem
    answers: InferenceRecords


def wire_reviews(settings: FeedbackSettings, backend: Backend, inference: grpc.aio.Channel) -> WiredReviews:
    """Return entry points, use cases and the controller that removes the items of deleted queues."""
    stores = _stores(settings, backend, inference)
    controller = ended_queues(
        DropItems(queues=stores.queues, items=stores.items, find=stores.find, clock=SystemClock()),
        pending=backend.indexed(MongoEndedQueues(backend.database["review_queues"])),
        leases=backend.leases("review_leases"),
        poll_interval=timedelta(seconds=settings.curation_poll_interval_s),
    )
    return WiredReviews(
        servicer=_servicer(settings, stores, controller),
        sample=SampleAnswers(
            queues=RecentSampledQueues(stores.queues, max_age_s=settings.review_queue_cache_s),
            find=RecentlyFull(stores.find, max_age_s=settings.review_queue_cache_s),
            store=stores.store,
            answers=stores.answers,
        ),
        erase=EraseItems(items=stores.items, find=stores.find, clock=SystemClock()),
        controller=controller,
    )


def _stores(settings: FeedbackSettings, backend: Backend, inference: grpc.aio.Channel) -> _Stores:
    queues = backend.aggregates(
        "review_queues",
        QUEUES,
        missing=ReviewQueueNotFound,
        lists=QUEUE_LISTS,
        quota=settings.quota("review_queues"),
    )
    items = backend.aggregates("review_items", ITEMS, missing=ReviewItemNotFound, topic=TOPIC, lists=ITEM_LISTS)
    find = backend.indexed(MongoItems(backend.database["review_items"]))
    store = StoreItem(queues=queues, items=items, erased=partial(_erased, backend))
    return _Stores(queues, items, find, store, InferenceRecords(inference))


def _servicer(settings: FeedbackSettings, stores: _Stores, controller: Controller[EndedQueue]) -> GrpcReviewService:
    queues, items, find, clock = stores.queues, stores.items, stores.find, SystemClock()
    return GrpcReviewService(
        queues=ReviewQueueCrud(queues=queues, items=items, enqueue=controller.enqueue),
        add=AddItems(queues=queues, items=items, find=find, store=stores.store, answers=stores.answers, clock=clock),
        claim=ClaimItem(queues=queues, items=items, find=find, clock=clock, draw=random.random),
        submit=SubmitReview(queues=queues, items=items, clock=clock),
        release=ReleaseItem(items=items, clock=clock),
        adjudicate=AdjudicateItem(queues=queues, items=items, clock=clock),
        report=ReportQueue(
            queues=queues, items=items, find=find, kappa=NltkKappa(), max_items=settings.review_report_items
        ),
    )


async def _erased(backend: Backend, project: str, end_user: str, documents: Collection[str]) -> datetime | None:
    users = await backend.erased(project, Scope.END_USER, [end_user]) if end_user else {}
    shown = await backend.erased(project, Scope.DOCUMENT, documents) if documents else {}
    return max([*users.values(), *shown.values()], default=None)
