"""The model's text: from the first model that gives one."""

import hashlib
from contextlib import aclosing
from dataclasses import dataclass, replace

from tidemill_core.errors import Blame, Internal, InvalidInput, TidemillError
from tidemill_inference.engines.ports import Engine, Engines, Finish, ModelVersion
from tidemill_inference.errors import CapabilityMissing
from tidemill_inference.generation.domain.content import Role
from tidemill_inference.generation.domain.inference import Inference, Variant
from tidemill_inference.generation.domain.question import Purpose, Question
from tidemill_inference.generation.steps.context import Context, Generated
from tidemill_inference.generation.steps.render import Render, asked_of
from tidemill_inference.routing.ports import Route, Router, RunningAttempt

_CHARACTERS_PER_TOKEN = 4
"""Of English text, by which the tokens of an attempt are estimated that does not report them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """Sends the variant and the text to the generation.

    Which model answers is up to the router. The variant is sent with the first token, so that a failure before it is
    only an error.
    """

    router: Router
    engines: Engines
    render: Render

    async def __call__(self, context: Context) -> None:
        """Have the model answer, or the next one.

        Raises:
            CapabilityMissing: the model cannot do what is asked for.
            ModelNotShared: it belongs to another project, which does not share it any more.
            PromptTooLong: the messages do not fit the model.
            RateLimited: the model takes no more at the moment.
            DependencyUnavailable: the trainer or every model failed, or had no first token in time.

        """

        async def call(model: ModelVersion, attempt: RunningAttempt, *, timeout_s: float) -> Generated:
            try:
                return await self._generated(context, model, attempt, timeout_s)
            except TidemillError as error:
                context.generation.failures[attempt.model] = error
                raise

        try:
            generated = await self.router(context.caller, _route(context), call)
        except InvalidInput as error:
            raise _as_asked(error, context.question) from error
        context.finish_draft(generated)
        if context.drafts[0].empty:
            reason = context.finishes[0].reason
            context.warnings.append(f"model {generated.variant.model} said nothing (finish reason {reason})")

    async def _generated(
        self, context: Context, model: ModelVersion, attempt: RunningAttempt, timeout_s: float
    ) -> Generated:
        generation, own = context.generation, replace(context, warnings=[])
        generation.waiting_for, generation.blame = f"model {attempt.model}", Blame.VARIANT
        model = replace(model, engine=context.question.engine)
        async with self.engines.use(context.caller.project, model) as engine:
            _warn_of_another(own, engine, model)
            _check_capabilities(context, engine, attempt.model)
            rendered = await self.render(own, engine)
            variant = replace(
                _variant(context.inference), model=attempt.model, index=context.found.index, engine=engine.fingerprint
            )
            first_token_s: float | None = None
            finishes: dict[int, Finish] = {}
            attempt.input_tokens = sum(len(each.text) for each in rendered.prompt.messages) // _CHARACTERS_PER_TOKEN
            attempt.endpoint = engine.fingerprint.partition(" ")[0]
            async with aclosing(engine.generate(rendered.prompt, timeout_s=timeout_s)) as pieces:
                async for piece in pieces:
                    attempt.more()
                    if first_token_s is None:
                        first_token_s = context.elapsed_s()
                        generation.waiting_for = ""
                        generation.start(replace(context.inference, variant=variant, passages=rendered.passages))
                    if isinstance(piece, Finish):
                        finishes[piece.candidate] = piece
                    else:
                        generation.add(piece)
        if sorted(finishes) != list(range(context.question.drawn)):
            message = f"model {attempt.model} ended without a finish reason"
            raise Internal(message, model=attempt.model)
        if model.remote is not None and (identity := max(finishes.items())[1].identity):
            variant = replace(
                variant, provider_model=identity.provider_model, system_fingerprint=identity.system_fingerprint
            )
        context.warnings += own.warnings
        context.history, context.examples = own.history, own.examples
        generated = Generated(
            variant=variant,
            passages=rendered.passages,
            finishes=tuple(finish for _, finish in sorted(finishes.items())),
            first_token_s=first_token_s,
        )
        attempt.finished(input_tokens=generated.input_tokens, output_tokens=generated.output_tokens)
        return generated


def _warn_of_another(context: Context, engine: Engine, model: ModelVersion) -> None:
    """Say that another engine than the deployment's runs the model."""
    found = engine.fingerprint.partition(" ")[0]
    if model.remote is None and model.engine not in ("", found):
        context.warnings.append(f"engine {model.engine} cannot run here: {found} answers in its place")


def _check_capabilities(context: Context, engine: Engine, reference: str) -> None:
    """Refuse what the engine lacks, before anything is rendered for it."""
    needs = asked_of(context.question, context.question.messages, context.sampling).needs
    if missing := [field for capability, field in needs.items() if capability not in engine.capabilities]:
        raise CapabilityMissing(*missing, model=reference)


def _as_asked(error: InvalidInput, question: Question) -> InvalidInput:
    """Return the refusal of a model at what the question asks for: `best_of` needs several candidates with logprobs."""
    if not question.ranked or not error.violations:
        return error
    needed = {"candidate_count"} if question.sampling.logprobs else {"candidate_count", "sampling.logprobs"}
    named = [replace(each, field="best_of") if each.field in needed else each for each in error.violations]
    return error.with_violations(dict.fromkeys(named))


def _route(context: Context) -> Route:
    """Return who may answer; a comparison is of the model itself."""
    live = context.question.purpose is Purpose.LIVE
    return Route(
        model=context.step.model,
        fallback=context.step.fallback if live else (),
        routing=context.routing if live else context.routing.of_one_model(),
        affinity=_conversation(context.question),
        started=context.started,
        deadline=context.deadline,
        attempts=context.generation.attempts,
        warnings=context.warnings,
    )


def _conversation(question: Question) -> str:
    """Return what names a conversation in each of its turns: its id, or its messages up to the first of the user."""
    if question.conversation:
        return question.conversation
    digest = hashlib.sha256(question.deployment.encode())
    for message in question.messages:
        digest.update(message.text.encode("utf-8", "replace"))
        if message.role is Role.USER:
            break
    return digest.hexdigest()


def _variant(inference: Inference) -> Variant:
    assert inference.variant is not None  # noqa: S101 - it was reserved with one
    return inference.variant
