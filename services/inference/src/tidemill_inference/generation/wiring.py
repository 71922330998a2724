"""Puts the answers together."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from tidemill_core.application import SystemClock
from tidemill_inference.budgets.ports import Spending
from tidemill_inference.caching.ports import Reusing
from tidemill_inference.deployments.ports import ReadDeployments
from tidemill_inference.engines.ports import Asking, Engines, Models
from tidemill_inference.examples.ports import ChoosingExamples
from tidemill_inference.generation.answer import AnswerQuestion
from tidemill_inference.generation.asked_schemas import AskedSchemas
from tidemill_inference.generation.domain.outcome import AnswerOutcome
from tidemill_inference.generation.erase_end_user import EraseEndUser
from tidemill_inference.generation.erase_inference import EraseInference
from tidemill_inference.generation.generate import GenerateAnswer
from tidemill_inference.generation.grpc import GrpcInferenceService
from tidemill_inference.generation.ingest import IngestReaders, IngestTexts
from tidemill_inference.generation.mongo import MongoRecords
from tidemill_inference.generation.ports import Aging, Conversing, EndUserData, EndUserFiles, Inferences, Retriever
from tidemill_inference.generation.read_inferences import ReadInferences
from tidemill_inference.generation.reservation import Reservations
from tidemill_inference.generation.retention import ForgetRecords
from tidemill_inference.generation.shadow import AnswerShadow
from tidemill_inference.generation.shared import SharedGenerations
from tidemill_inference.generation.show_prompt import ShowPrompt
from tidemill_inference.generation.steps.rewrite import Rewrite
from tidemill_inference.prompts.ports import ReadPrompts, Templates
from tidemill_inference.routing.ports import Router
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.access.grants import Shared
from tidemill_kit.access.retention import RetentionKind
from tidemill_kit.erasure.retained import Retained
from tidemill_kit.service.backend import Backend
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.fair_queue import FairQueue
from tidemill_kit.workers.fair_share import Turns
from tidemill_kit.workers.sweeps import SweepKey, sweep_controller


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationParts:
    """The use cases of answers; as a component it ends what is still being answered when the service stops."""

    answer: AnswerQuestion
    places: FairQueue
    """Those of live answers."""
    shadow: AnswerShadow
    servicer: GrpcInferenceService
    reading: ReadInferences
    erase_end_user: EraseEndUser

    async def start(self) -> None:
        """Begin nothing: answers come with questions."""

    async def stop(self) -> None:
        """Cancel what still runs; its records say so."""
        for answer in (self.answer, self.shadow.answer):
            await answer.generations.stop()

    @property
    def projects(self) -> set[str]:
        """The projects of which answers are in progress."""
        return self.answer.generations.projects | self.shadow.answer.generations.projects

    async def forget(self, project: str) -> int:
        """Cancel what still runs of a project; return how many answers that were."""
        return sum([await each.generations.stop(project) for each in (self.answer, self.shadow.answer)])


def wire_generation(  # noqa: PLR0913 - keyword-only, and each of another kind
    settings: InferenceSettings,
    backend: Backend,
    *,
    deployments: ReadDeployments,
    recent_prompts: ReadPrompts,
    prompts: ReadPrompts,
    inferences: Inferences,
    templates: Templates,
    schemas: AskedSchemas,
    models: Models,
    engines: Engines,
    router: Router,
    retriever: Retriever,
    spending: Spending,
    observe: Callable[[AnswerOutcome], None],
    ask: Asking,
    conversing: Conversing,
    reusing: Reusing,
    choosing: ChoosingExamples,
    others: Sequence[EndUserData],
    files: EndUserFiles,
) -> GenerationParts:
    """Return what answers; `observe` is called with each answer in a rollout."""
    places, clock = FairQueue("places for answers", settings.answer_queue, weight=settings.weight_of), SystemClock()
    make = _making(
        settings, templates=templates, models=models, router=router, retriever=retriever, engines=engines, ask=ask
    )
    make = replace(make, reusing=reusing, choosing=choosing)
    answer = AnswerQuestion(
        deployments=deployments,
        prompts=recent_prompts,
        stored_prompts=prompts,
        inferences=inferences,
        templates=templates,
        generations=SharedGenerations(places=places),
        reservations=_reservations(settings, backend, inferences),
        make=make,
        spending=spending,
        retries=settings.remote_retries,
        schemas=schemas,
        limits=settings.question_limits,
        observe=observe,
        conversing=conversing,
    )
    show, erase = _show_prompt(settings, backend, answer, prompts), EraseEndUser(inferences=inferences, clock=clock)
    shadows = SharedGenerations(at_most=settings.shadow_max_concurrent)
    return GenerationParts(
        answer=answer,
        places=places,
        shadow=AnswerShadow(answer=replace(answer, generations=shadows)),
        servicer=_servicer(answer, show, replace(erase, others=others, files=files)),
        reading=show.reading,
        erase_end_user=erase,
    )


def _making(  # noqa: PLR0913 - keyword-only, and each of another kind
    settings: InferenceSettings,
    *,
    templates: Templates,
    models: Models,
    router: Router,
    retriever: Retriever,
    engines: Engines,
    ask: Asking,
) -> GenerateAnswer:
    return GenerateAnswer(
        templates=templates,
        models=models,
        router=router,
        retriever=retriever,
        engines=engines,
        rewrite=Rewrite(ask=ask, timeout_s=settings.rewrite_timeout_s),
        threshold=settings.citation_threshold,
        cited_characters=settings.citation_max_characters,
        citation_turns=Turns(settings.citation_threads),
    )


def _reservations(settings: InferenceSettings, backend: Backend, inferences: Inferences) -> Reservations:
    return Reservations(
        inferences=inferences,
        clock=SystemClock(),
        ttl=timedelta(seconds=settings.lease_ttl_s),
        deleted=backend.access.revocations.deleted,
    )


def _servicer(answer: AnswerQuestion, show: ShowPrompt, erase: EraseEndUser) -> GrpcInferenceService:
    erase_inference = EraseInference(inferences=erase.inferences, clock=erase.clock)
    return GrpcInferenceService(answer, show.reading, show, erase_inference=erase_inference, erase=erase)


def _show_prompt(
    settings: InferenceSettings, backend: Backend, answer: AnswerQuestion, prompts: ReadPrompts
) -> ShowPrompt:
    """Return what shows the prompts of records, with what reads the records: both may need ingest."""
    timeout_s = settings.call_timeout_s
    ingest = settings.ingest_address and backend.channel("ingest", settings.ingest_address, timeout_s=timeout_s)
    return ShowPrompt(
        reading=ReadInferences(
            inferences=answer.inferences,
            readers=IngestReaders(ingest or None, timeout_s=timeout_s),
            shared=backend.shared(Shared.COLLECTION),
        ),
        prompts=prompts,
        templates=answer.templates,
        texts=IngestTexts(ingest or None, timeout_s=timeout_s),
        conversing=answer.conversing,
    )


def wire_sweeps(
    settings: InferenceSettings,
    backend: Backend,
    *,
    sweeps: Mapping[str, Callable[[], Awaitable[int]]],
    others: Sequence[Aging],
) -> Controller[SweepKey]:
    """Return the sweeps of records past their retention, and the `sweeps` of other features, by name.

    `others` are kept as long as records.
    """
    deployments, inferences = backend.database["deployments"], backend.database["inferences"]
    records = ForgetRecords(
        records=backend.indexed(MongoRecords(deployments, inferences)),
        retained=Retained(holds=backend.holds, retention=backend.retention, kind=RetentionKind.ANSWERS),
        clock=SystemClock(),
        others=others,
    )
    return sweep_controller(
        {"old_records": records, **sweeps},
        leases=backend.leases("leases"),
        poll_interval=timedelta(seconds=settings.sweep_poll_interval_s),
    )
