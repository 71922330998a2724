"""Puts finding texts by similarity together."""

from dataclasses import dataclass
from datetime import timedelta

from tidemill.rag.v1.similar_text_service_pb2_grpc import add_SimilarTextServiceServicer_to_server
from tidemill_core.application import SystemClock
from tidemill_kit.erasure.documents import documents
from tidemill_kit.erasure.steps import Step
from tidemill_kit.grpc.server import Registration
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.sweeps import SweepKey, sweep_controller
from tidemill_rag.embedding.ports import EmbeddingModels
from tidemill_rag.settings import RagSettings
from tidemill_rag.similarity.grpc import GrpcSimilarTextService
from tidemill_rag.similarity.mongo import MongoSimilarTexts
from tidemill_rag.similarity.similar_texts import (
    EraseSimilarTexts,
    FindSimilarTexts,
    PutSimilarText,
    RemoveExpiredTexts,
    RemoveSimilarTexts,
)
from tidemill_rag.vectors.ports import VectorStore

_TEXTS, _INDEXES = "similar_texts", "similar_indexes"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityParts:
    """The API, the sweep of what has expired, and what is erased."""

    servicer: Registration
    sweeps: Controller[SweepKey]
    of_project: tuple[Step, ...]
    of_end_user: tuple[Step, ...]


def wire_similarity(
    settings: RagSettings, backend: Backend, *, vectors: VectorStore, models: EmbeddingModels
) -> SimilarityParts:
    """Return the parts, on the vectors and models that searches use."""
    database, clock = backend.database, SystemClock()
    texts = backend.indexed(MongoSimilarTexts(database[_TEXTS], database[_INDEXES]))
    put = PutSimilarText(
        texts=texts,
        vectors=vectors,
        models=models,
        clock=clock,
        max_characters=settings.max_query_characters,
        max_texts=settings.max_similar_texts,
        max_age=timedelta(days=settings.similar_text_max_days),
    )
    find = FindSimilarTexts(
        texts=texts, vectors=vectors, models=models, clock=clock, max_characters=settings.max_query_characters
    )
    erase = EraseSimilarTexts(texts=texts, vectors=vectors, put=put)
    service = GrpcSimilarTextService(find=find, put=put, remove=RemoveSimilarTexts(texts=texts, vectors=vectors))
    sweeps = sweep_controller(
        {"expired_similar_texts": RemoveExpiredTexts(texts=texts, vectors=vectors, clock=clock)},
        leases=backend.leases("sweep_leases"),
        poll_interval=timedelta(seconds=settings.sweep_poll_interval_s),
    )
    return SimilarityParts(
        servicer=(add_SimilarTextServiceServicer_to_server, service),
        sweeps=sweeps,
        of_project=(
            Step(kind="similar texts", erase=lambda target: erase.of_project(target.project)),
            documents("rows of similar texts", database[_TEXTS]),
            documents("indexes of similar texts", database[_INDEXES]),
        ),
        of_end_user=(
            Step(kind="similar texts", erase=lambda target: erase.of_end_user(target.project, target.subject)),
        ),
    )
