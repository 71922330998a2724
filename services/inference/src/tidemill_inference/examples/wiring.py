"""Puts the examples that stand before questions together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import grpc

from tidemill_core.application import ResourceKey, SystemClock
from tidemill_inference.engines.ports import Models
from tidemill_inference.examples.choose import ChooseExamples
from tidemill_inference.examples.ingest import IngestVersions
from tidemill_inference.examples.load import EraseExamples, LoadExamples, RemoveExamples
from tidemill_inference.examples.mongo import MongoExamples, MongoExampleSets, pending_sets
from tidemill_inference.examples.ports import DatasetVersions, ExampleSets, QuestionVectors, StoredExamples
from tidemill_inference.examples.rag import RagQuestionVectors
from tidemill_inference.examples.resolve import ResolveExamples
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.access.holds import Scope
from tidemill_kit.erasure.documents import documents, documents_of_jobs
from tidemill_kit.erasure.steps import Step
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller

_SETS, _EXAMPLES = "example_sets", "examples"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleParts:
    """What resolves, loads and chooses examples, and what is erased of them."""

    resolve: ResolveExamples
    choose: ChooseExamples
    controller: Controller[ResourceKey]
    of_projects: Sequence[Step]
    of_end_users: Sequence[Step]
    of_documents: Sequence[Step]


def wire_examples(
    settings: InferenceSettings, backend: Backend, *, models: Models, rag: grpc.aio.Channel
) -> ExampleParts:
    """Return the parts; vectors of questions are at rag."""
    clock, timeout_s = SystemClock(), settings.call_timeout_s
    ingest = settings.ingest_address and backend.channel("ingest", settings.ingest_address, timeout_s=timeout_s)
    versions = IngestVersions(
        ingest or None,
        backend.bucket(settings.dataset_bucket),
        timeout_s=timeout_s,
        max_characters=settings.example_max_characters,
    )
    sets = MongoExampleSets(backend.database[_SETS])
    examples = backend.indexed(MongoExamples(backend.database[_EXAMPLES]))
    vectors = RagQuestionVectors(rag, timeout_s=settings.embedding_timeout_s)
    load = _loading(settings, backend, sets=sets, examples=examples, versions=versions, vectors=vectors)
    leases = backend.leases("example_leases")
    controller = Controller(
        "examples",
        reconcile=load,
        pending=backend.indexed(pending_sets(backend.database[_SETS])),
        leases=leases,
        max_concurrent=settings.example_sets_max_concurrent,
        poll_interval=timedelta(seconds=settings.example_poll_interval_s),
        deleted=backend.access.revocations.deleted,
    )
    erase = EraseExamples(examples=examples, remove=load.remove)
    choose = ChooseExamples(
        sets=sets,
        examples=examples,
        vectors=vectors,
        clock=clock,
        enqueue=controller.enqueue,
        timeout_s=settings.similar_timeout_s,
        max_sets=settings.max_example_sets,
    )
    return ExampleParts(
        resolve=ResolveExamples(
            versions=versions, models=models, vectors=vectors, max_examples=settings.max_examples, choosing=choose
        ),
        choose=choose,
        controller=controller,
        of_projects=[
            documents_of_jobs("sets of examples", backend.database[_SETS], end=_ends_by_itself, leases=leases),
            documents("examples", backend.database[_EXAMPLES]),
        ],
        of_end_users=[Step(kind="examples", erase=lambda target: erase.of_end_user(target.project, target.subject))],
        of_documents=[Step(kind="examples", erase=lambda target: erase.of_document(target.project, target.subject))],
    )


def _loading(  # noqa: PLR0913 - keyword-only, and each of another kind
    settings: InferenceSettings,
    backend: Backend,
    *,
    sets: ExampleSets,
    examples: StoredExamples,
    versions: DatasetVersions,
    vectors: QuestionVectors,
) -> LoadExamples:
    return LoadExamples(
        sets=sets,
        examples=examples,
        versions=versions,
        vectors=vectors,
        remove=RemoveExamples(examples=examples, vectors=vectors),
        erased_people=backend.erased.end_users,
        erased_documents=lambda project, names: backend.erased(project, Scope.DOCUMENT, names),
        clock=SystemClock(),
        check_every=timedelta(seconds=settings.example_check_s),
        unused_for=timedelta(days=settings.example_unused_days),
    )


async def _ends_by_itself(_project: str) -> None:
    """End nothing: a turn of work on a set is short, and none begins in a deleted project."""
