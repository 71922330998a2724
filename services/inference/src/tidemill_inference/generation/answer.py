"""Answer a question: once per request id, for all concurrent requests with it."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from tidemill_core.application import Caller, PageRequest, Request, derived_id
from tidemill_core.errors import Blame, RequestIdReused, TidemillError
from tidemill_inference.budgets.ports import NoBudgets, Spend, Spending
from tidemill_inference.deployments.domain.choice import ChosenConfiguration
from tidemill_inference.deployments.domain.configuration import Configuration
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.domain.errors import DeploymentNotFound
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.deployments.ports import ReadDeployments
from tidemill_inference.errors import ServerEnded
from tidemill_inference.generation.asked_schemas import AskedSchemas
from tidemill_inference.generation.domain.arms import as_its_arm_has_it
from tidemill_inference.generation.domain.bounds import expected, limited
from tidemill_inference.generation.domain.copies import delivered, without_names_of
from tidemill_inference.generation.domain.errors import InferenceNotFound, QuestionRefused
from tidemill_inference.generation.domain.inference import Inference, State, Variant, reserved
from tidemill_inference.generation.domain.limits import DEFAULT_LIMITS, QuestionLimits
from tidemill_inference.generation.domain.outcome import AnswerOutcome, blames_variant
from tidemill_inference.generation.domain.question import Purpose, Question
from tidemill_inference.generation.drafts import pieces_of
from tidemill_inference.generation.generate import GenerateAnswer
from tidemill_inference.generation.ports import Conversing, Finished, Inferences, Joined, Step
from tidemill_inference.generation.reservation import Reservation, Reservations
from tidemill_inference.generation.shared import Generation, SharedGenerations
from tidemill_inference.prompts.domain.errors import PromptNotFound, PromptVersionNotFound
from tidemill_inference.prompts.domain.prompt import PromptContent, PromptVersion
from tidemill_inference.prompts.domain.references import UNSAVED, Reference
from tidemill_inference.prompts.ports import ReadPrompts, Templates
from tidemill_inference.rollouts.domain.step_counts import CANDIDATE, LIVE
from tidemill_kit.workers.fair_queue import Share

_SHOWN = 50
_WAITED_S = 0.001
"""What is less is no wait in a queue."""


def _noop(_answered: AnswerOutcome) -> None:
    """Does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Accepted:
    """A question that is going to be answered: as its deployment has it, by what, and out of which budgets."""

    question: Question
    deployment: Deployment
    chosen: ChosenConfiguration
    content: PromptContent
    spend: Spend
    place: Callable[[], Awaitable[None]] | None
    """See `Joined`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerQuestion:
    """Emits InferenceWasCompleted, InferenceHasFailed or InferenceWasCancelled.

    Equal request ids share one generation, also across replicas, where the record's lease says who answers. It stops
    when its last listener leaves. A completed inference is final: the same request again returns its record, in which
    only mode FULL keeps the text. What failed or was cancelled starts again.
    """

    deployments: ReadDeployments
    prompts: ReadPrompts
    """As they were a moment ago."""
    stored_prompts: ReadPrompts
    inferences: Inferences
    templates: Templates
    generations: SharedGenerations
    reservations: Reservations
    make: GenerateAnswer
    weight: float = 1.0
    """Of its requests among those that wait for a place."""
    retries: int = 0
    """Of a remote model, where the deployment's routing does not say: budgets reserve their prompts."""
    spending: Spending = field(default_factory=NoBudgets)
    schemas: AskedSchemas = field(default_factory=AskedSchemas)
    limits: QuestionLimits = DEFAULT_LIMITS
    observe: Callable[[AnswerOutcome], None] = _noop
    """Called with each answer that is compared, also with failed ones; must not block."""
    conversing: Conversing | None = None

    async def __call__(
        self, caller: Caller, question: Question, *, request: Request, until: float | None = None
    ) -> AsyncGenerator[Step, None]:
        """Yield Started, then text and tool calls as they come, then Finished. Closing the generator is leaving.

        `until`, on time.monotonic(), is how long this caller listens; the answer itself has the deployment's deadline.

        Raises:
            QuestionRefused, InvalidInput: the question cannot be answered as it is.
            RequestIdReused: the request id belongs to another question.
            DeploymentNotFound: the project has no such deployment.
            DependencyUnavailable: rag, the trainer, the store or the engine does not answer.
            DeadlineExceeded: the deployment's deadline passed.

        """
        question.check(self.limits)
        await self.schemas.check(caller.project, question)
        key = (caller.project, derived_id(caller.project, "inference", request.id))

        async def work(generation: Generation) -> Inference:
            try:
                return await self._answer(caller, key[1], question, request, generation)
            finally:
                if self.make.reusing:
                    self.make.reusing.end(*key)

        listening = self.generations.listen(
            key,
            digest=request.digest,
            request_id=request.id,
            until=until,
            work=work,
            share=Share(project=caller.project, end_user=question.end_user or caller.subject, weight=self.weight),
        )
        async with aclosing(listening) as steps:
            async for step in steps:
                yield step

    async def whole(
        self, caller: Caller, question: Question, *, request: Request, until: float | None = None
    ) -> Inference:
        """Return the whole answer; raises as above."""
        async with aclosing(self(caller, question, request=request, until=until)) as steps:
            async for step in steps:
                if isinstance(step, Finished):
                    return step.inference
        raise AssertionError  # Finished is always the last step

    async def _answer(
        self, caller: Caller, inference_id: str, question: Question, request: Request, generation: Generation
    ) -> Inference:
        """Yield the stored answer, or make it; an invalid question is refused before anything is stored."""
        started = time.monotonic()
        generation.waiting_for = "mongodb"
        try:
            accepted = await self._accept(caller, inference_id, question, request)
        except TidemillError:
            stored = await self._completed(caller.project, inference_id, request)
            if stored is None:
                raise
            return _retell(stored, generation)  # it is final, whatever became of its deployment
        question, chosen, spend = accepted.question, accepted.chosen, accepted.spend
        fresh = reserved(
            question, inference_id=inference_id, project=caller.project, request_id=request.id, digest=request.digest
        )
        spec = accepted.deployment.spec
        deadline = started + spec.deadline.total_seconds()
        question, generation.limits = limited(question, spend.max_output_tokens), spend.limits
        async with self._reserved(accepted, fresh, deadline, alone=_is_alone(accepted, request)) as reservation:
            if reservation.lease is None:
                return _retell(reservation.inference, generation)
            reservation.attempts = generation.attempts
            try:
                answer = await self.make(
                    caller,
                    delivered(reservation.inference, question),
                    question,
                    chosen.configuration,
                    content=accepted.content,
                    generation=generation,
                    started=started,
                    deadline=deadline,
                    routing=accepted.deployment.resolved_routing,
                    cache=None if chosen.compared else spec.cache,  # what is compared is made anew
                    begin=partial(reservation.begin, self.reservations.ttl),
                )
            except (Exception, asyncio.CancelledError) as error:
                failed = AnswerOutcome(inference=reservation.inference, question=question, chosen=chosen, failed=True)
                cause = generation.missed if isinstance(error, asyncio.CancelledError) else error
                if blames_variant(cause, chosen, searches=generation.searches):
                    failed = replace(failed, total_s=time.monotonic() - started)
                    await self._report(caller, failed, accepted.deployment, generation)
                raise
            waited_s = generation.queue_s if generation.queue_s >= _WAITED_S else None
            answer = replace(answer, cost=spend.cost(), budget_hold=spend.hold_id, queue_wait_s=waited_s)
            saved = await reservation.complete(answer)
        if self.make.reusing:
            await self.make.reusing.keep(saved, answer)
        if self.conversing:
            self.conversing.answered(caller.project, question)
        whole = delivered(saved, question, answer)
        fell_back = answer.variant.model != chosen.configuration.model
        total_s = answer.usage.total_s - (0.0 if chosen.searches_anew else answer.usage.search_s)
        outcome = AnswerOutcome(inference=whole, question=question, chosen=chosen, failed=fell_back, total_s=total_s)
        await self._report(caller, outcome, accepted.deployment, generation)
        generation.end(whole)  # last: who leaves then ends this
        return whole

    @asynccontextmanager
    async def _reserved(
        self, accepted: _Accepted, fresh: Inference, deadline: float, *, alone: bool
    ) -> AsyncIterator[Reservation]:
        """Yield the right to answer, which the question has once it has its place; charge what is used of budgets."""
        async with accepted.spend as spend:
            if accepted.place:
                await accepted.place()
            variant = _variant(accepted.chosen)
            async with self.reservations.reserved(fresh, variant, deadline=deadline, alone=alone) as reservation:
                reservation.cost = spend.cost
                yield reservation

    async def _accept(self, caller: Caller, inference_id: str, question: Question, request: Request) -> _Accepted:
        """Give the question what its deployment and its conversation add, and begin to spend on it."""
        deployment = await self._deployment(caller.project, question.deployment)
        joined = Joined(question=_with_deployment_defaults(question, deployment))
        if self.conversing:
            joined = await self.conversing.join(
                caller, joined.question, deployment, inference_id=inference_id, digest=request.digest
            )
        question = joined.question
        chosen = await self._chosen(caller, deployment, question, request)
        question, chosen = as_its_arm_has_it(question, chosen, deployment)
        try:
            content = await self._content(caller.project, chosen.configuration, question)
        except (PromptNotFound, PromptVersionNotFound):
            if not chosen.experiment:
                raise
            chosen = ChosenConfiguration(variant=LIVE, configuration=deployment.live)
            content = await self._content(caller.project, chosen.configuration, question)
        most = expected(question, chosen, content, deployment, retries=self.retries)
        spend = await self.spending.begin(caller, replace(most, inference=inference_id))
        return _Accepted(
            question=question, deployment=deployment, chosen=chosen, content=content, spend=spend, place=joined.place
        )

    async def _chosen(
        self, caller: Caller, deployment: Deployment, question: Question, request: Request
    ) -> ChosenConfiguration:
        """Return what answers: only live questions take part in a rollout, and the shadows that it asks itself."""
        if question.purpose is Purpose.LIVE:
            return deployment.choose(
                end_user=question.end_user, request_id=request.id, conversation=question.conversation
            )
        if question.rollout:
            return deployment.shadowing(question.rollout)
        configuration = deployment.live
        if question.index:
            configuration = configuration.with_index(question.index)
        if question.variant:
            model = await self.make.models.resolve(caller, question.variant, field="variant")
            configuration = configuration.with_answer(model=model.id)
        if question.prompt or question.unsaved:
            configuration = configuration.with_answer(prompt=await self._other_prompt(caller.project, question))
        compared = question.variant or question.index or question.prompt or question.unsaved
        return ChosenConfiguration(variant=CANDIDATE if compared else LIVE, configuration=configuration)

    async def _other_prompt(self, project: str, question: Question) -> str:
        """Return what names the prompt that is compared with the live one, in configurations and records."""
        if question.unsaved:
            return f"{UNSAVED}{(await self.templates.check(project, question.unsaved)).digest}"
        reference = Reference.of_prompt(question.prompt)
        return f"{reference.name}@{(await self._version(project, reference)).number}"

    async def _content(self, project: str, configuration: Configuration, question: Question) -> PromptContent:
        """Return the prompt, which has to take the question's variables."""
        content = question.unsaved or (await self._version(project, Reference.of_prompt(configuration.prompt))).content
        await self.templates.check_variables(project, content, question.variables)
        return content

    async def _version(self, project: str, reference: Reference) -> PromptVersion:
        """Return a prompt's version: of one that another replica made a moment ago, from the store."""
        try:
            return (await self.prompts.get(project, reference.name)).resolve(reference.pin)
        except PromptVersionNotFound:
            return (await self.stored_prompts.get(project, reference.name)).resolve(reference.pin)

    async def _report(
        self, caller: Caller, answered: AnswerOutcome, deployment: Deployment, generation: Generation
    ) -> None:
        """Report what came of an answer that is compared, unless its model failed in an outage that all variants share.

        Of the end of a server that they share, a candidate's answers report that it ended; in an experiment none does.
        """
        chosen, last = answered.chosen, None
        if answered.failed:
            last = generation.failures.get(chosen.configuration.model)
        if not chosen.compared or (last and last.blame is Blame.SHARED):
            return
        if isinstance(last, ServerEnded) and await self._is_shared(caller, last, chosen, deployment):
            if chosen.variant != CANDIDATE or not last.incarnation or chosen.experiment:
                return
            answered = replace(answered, ended=last.incarnation)
        self.observe(answered)

    async def _is_shared(
        self, caller: Caller, ended: ServerEnded, chosen: ChosenConfiguration, deployment: Deployment
    ) -> bool:
        """Return whether its server answers for another variant, too; where the trainer does not say, it does."""
        for other in _others(chosen, deployment):
            try:
                model = await self.make.models.resolve(caller, other, field="model")
            except TidemillError:
                return True
            if (model.base or model).digest == ended.base:
                return True
        return False

    async def _completed(self, project: str, inference_id: str, request: Request) -> Inference | None:
        try:
            inference = await self.inferences.get(project, inference_id)
        except InferenceNotFound:
            return None
        if inference.request_digest != request.digest:
            raise RequestIdReused(request.id)
        return inference if inference.state is State.COMPLETED else None

    async def _deployment(self, project: str, name: str) -> Deployment:
        try:
            return await self.deployments.get(project, name)
        except DeploymentNotFound as error:
            known = await self.deployments.list(project, page=PageRequest(size=_SHOWN))
            raise DeploymentNotFound(name, known=[each.id for each in known.items]) from error


def _others(chosen: ChosenConfiguration, deployment: Deployment) -> Sequence[str]:
    """Return the models of the other variants that answer beside one."""
    if chosen.experiment:
        arms = deployment.experiment.arms if deployment.experiment else ()
        return list(dict.fromkeys(arm.configuration.model for arm in arms if arm.name != chosen.variant))
    rollout = deployment.active_rollout
    return [rollout.candidate.model if rollout and chosen.variant == LIVE else deployment.live.model]


def _is_alone(accepted: _Accepted, request: Request) -> bool:
    """Whether no caller can ask for this answer while it is made, and it needs no record yet.

    Nothing is kept of what was asked, or the answer may be there already: it is recorded with it then, or of an end
    user's question while it is searched for.
    """
    later = accepted.question.record is RecordMode.NONE or accepted.deployment.spec.cache is not None
    return later and not request.named and not accepted.chosen.compared and accepted.place is None


def _variant(chosen: ChosenConfiguration) -> Variant:
    """Return what is going to answer, as far as it is known before."""
    configuration = chosen.configuration
    return Variant(
        name=chosen.variant,
        configuration=configuration.digest,
        model=configuration.model,
        prompt=configuration.prompt,
        rollout=chosen.rollout,
        experiment=chosen.experiment,
    )


def _with_deployment_defaults(question: Question, deployment: Deployment) -> Question:
    """Return the question with the record mode and the sampling that caller and deployment come to.

    Raises:
        QuestionRefused: the caller asks for more than the deployment allows.

    """
    spec = deployment.spec
    record = question.record or spec.record
    if record.value > spec.record.value:
        text = f"is {record.name}; deployment {deployment.id} records {spec.record.name}, which may only be lowered"
        raise QuestionRefused(field="record_mode", why=text)
    if question.store is False:
        record = min(record, RecordMode.METADATA, key=lambda mode: mode.value)
    question = replace(question, record=record, engine=spec.engine)
    free = spec.allow_sampling_override or question.free_sampling
    others = [] if free else question.sampling.overrides(deployment.live.sampling)
    if others and not question.yielding:
        text = f"cannot be overridden: deployment {deployment.id} does not set allow_sampling_override"
        raise QuestionRefused(field="sampling", why=text)
    note = f"{', '.join(others)} as deployment {deployment.id} has it: it does not set allow_sampling_override"
    return replace(question, sampling=question.sampling.without(others), notes=(note,) if others else ())


def _retell(inference: Inference, generation: Generation) -> Inference:
    """Yield a stored answer in the steps of a new one.

    Documents of other projects are not named: whether a search still finds them is not asked here.
    """
    foreign = {(each.document, each.version) for each in inference.passages if each.collection}
    inference = without_names_of(inference, foreign)
    if not inference.output:
        text = "the answer was not recorded: only record mode FULL keeps it for a retry"
        inference = replace(inference, warnings=(*inference.warnings, text))
    generation.start(replace(inference, output=(), alternatives=(), state=State.RESERVED))
    for piece in pieces_of(inference.output, inference.alternatives):
        generation.add(piece)
    generation.end(inference)
    return inference
