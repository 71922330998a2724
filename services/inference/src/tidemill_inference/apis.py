"""Puts the OpenAI-compatible API together, with the features that it has beyond answers, and their gRPC twins."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import grpc

from tidemill.inference.v1.embedding_service_pb2_grpc import add_EmbeddingServiceServicer_to_server
from tidemill.inference.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from tidemill.inference.v1.served_model_service_pb2_grpc import add_ServedModelServiceServicer_to_server
from tidemill_core.application import ResourceKey
from tidemill_inference.batches.wiring import wire_batches
from tidemill_inference.embeddings.embed import EmbedTexts
from tidemill_inference.embeddings.grpc import GrpcEmbeddingService
from tidemill_inference.embeddings.rag import RagEmbedder
from tidemill_inference.engines.local import declared_capabilities
from tidemill_inference.engines.ports import Models
from tidemill_inference.erasure import Erasing
from tidemill_inference.files.wiring import FileParts, upload_places
from tidemill_inference.generation.wiring import GenerationParts
from tidemill_inference.openai_api.batch_lines import AnswerLines
from tidemill_inference.openai_api.embeddings import HttpEmbeddings
from tidemill_inference.openai_api.wiring import wire_feedback, wire_openai_api, wire_resources_api
from tidemill_inference.served_models.grpc import GrpcServedModelService
from tidemill_inference.served_models.wiring import wire_served_models
from tidemill_inference.settings import InferenceSettings
from tidemill_inference.stores import Stores
from tidemill_kit.grpc.server import Registration
from tidemill_kit.http.server import HttpServer
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller

_BATCH_WEIGHT = 0.5
"""Of a line of a batch among the live requests that wait with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Apis:
    """What the API is made of."""

    server: HttpServer
    servicers: Sequence[Registration]
    controllers: Sequence[Controller[ResourceKey]]
    sweeps: Mapping[str, Callable[[], Awaitable[int]]]
    erasing: Sequence[Erasing]


def wire_apis(  # noqa: PLR0913 - keyword-only, and each of another kind
    settings: InferenceSettings,
    backend: Backend,
    *,
    stores: Stores,
    models: Models,
    generation: GenerationParts,
    rag: grpc.aio.Channel,
    files: FileParts,
) -> Apis:
    """Return the API, and what works behind it."""
    timeout_s = settings.embedding_timeout_s
    embed = EmbedTexts(
        embedder=RagEmbedder(rag, timeout_s=timeout_s),
        spending=generation.answer.spending,
        timeout_s=timeout_s,
        max_texts=settings.embedding_max_texts,
    )
    embeddings = HttpEmbeddings(embed, max_body_bytes=settings.max_body_bytes)
    served = wire_served_models(
        settings, backend, deployments=stores.deployments, models=models, declares=declared_capabilities
    )
    feedback = wire_feedback(settings, backend)
    lines = replace(generation.answer, weight=_BATCH_WEIGHT)
    batches = wire_batches(
        settings,
        backend,
        files=files.files,
        contents=files.contents,
        answer=AnswerLines(answer=lines, issue=feedback.token_of, embed=embed, limits=settings.question_limits),
        live=generation.places,
    )
    servicers = [files.servicer, batches.servicer]
    further = wire_resources_api(
        settings,
        backend,
        servicers=[*servicers, (add_InferenceServiceServicer_to_server, generation.servicer)],
        reading=files.crud,
        places=upload_places(settings),
        responses=generation.reading,
        feedback=feedback,
    )
    return Apis(
        server=wire_openai_api(
            settings,
            backend,
            answer=generation.answer,
            models=served,
            feedback=feedback,
            further=[embeddings, *further],
        ),
        servicers=[
            (add_ServedModelServiceServicer_to_server, GrpcServedModelService(served)),
            (add_EmbeddingServiceServicer_to_server, GrpcEmbeddingService(embed)),
            *servicers,
        ],
        controllers=[batches.controller],
        sweeps={"old_files": files.forget, "old_batches": batches.forget},
        erasing=[batches, files],
    )
