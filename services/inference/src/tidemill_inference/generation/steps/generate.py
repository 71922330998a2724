"""The model's text: from the first model that gives one."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_core.errors import (
    Blame,
    DependencyTimedOut,
    DependencyUnavailable,
    Internal,
    PreconditionFailed,
    RateLimited,
)
from tidemill_inference.engines.ports import Engine, Engines, Finish, Models, ModelVersion
from tidemill_inference.errors import ModelNotShared, PromptTooLong, ReferenceNotFound
from tidemill_inference.generation.domain.inference import Inference, Purpose, Variant
from tidemill_inference.generation.steps.context import Context, Generated
from tidemill_inference.generation.steps.render import Render

_ENGINE_FAILURES = (DependencyUnavailable, Internal, PreconditionFailed, PromptTooLong, RateLimited)
"""What another model may do better; what else is wrong with the question is wrong for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """Sends the variant and the text to the generation.

    A model that fails before its first token, or exceeds its share of the time for it, is replaced by the next one. The
    variant is sent with the first token, so that a failure before it is only an error.
    """

    models: Models
    engines: Engines
    render: Render

    async def __call__(self, context: Context) -> None:
        """Have the model answer, or the next one.

        Raises:
            ModelNotShared: it belongs to another project, which does not share it any more.
            PromptTooLong: the messages do not fit the model.
            RateLimited: the model takes no more at the moment.
            DependencyUnavailable: the trainer or every model failed, or had no first token in time.

        """
        step = context.step
        fallback = step.fallback if context.question.purpose is Purpose.LIVE else ()
        models = (step.model, *fallback)  # a comparison is of the model itself
        for number, model in enumerate(models, start=1):
            context.generation.waiting_for, context.generation.blame = f"model {model}", Blame.VARIANT
            others = len(models) - number
            try:
                await self._within(context.remaining_s() / (others + 1) if others else None, context, model)
            except _ENGINE_FAILURES as error:
                if context.generation.text or not others:
                    raise
                context.warnings.append(f"fallback used: {model} failed ({error.reason})")
            else:
                return

    async def _within(self, first_token_s: float | None, context: Context, reference: str) -> None:
        """Have one model answer, which has so long for its first token.

        Raises:
            DependencyTimedOut: it took longer.

        """
        patience = asyncio.timeout(first_token_s)
        try:
            async with patience:
                model = await self._model(context.caller, reference)
                async with self.engines.use(context.caller.project, model) as engine:
                    context.generated = await self._generated(context, engine, reference, patience)
        except TimeoutError as error:
            if patience.expired():
                message = f"model {reference} had no first token within {first_token_s:.3g} s"
                raise DependencyTimedOut(message, dependency=f"model {reference}", blame=Blame.VARIANT) from error
            raise
        if not context.generation.text.strip():
            reason = context.generated.finish.reason
            context.warnings.append(f"model {reference} said nothing (finish reason {reason})")

    async def _model(self, caller: Caller, reference: str) -> ModelVersion:
        """Return the model; one of another project may be shared no longer, for which the question is not to blame."""
        try:
            return await self.models.resolve(caller, reference, field="model")
        except ReferenceNotFound as error:
            if "/" in reference:
                raise ModelNotShared(reference) from error
            raise

    async def _generated(
        self, context: Context, engine: Engine, reference: str, patience: asyncio.Timeout
    ) -> Generated:
        generation = context.generation
        prompt = await self.render(context, engine)
        variant = replace(
            _variant(context.inference), model=reference, index=context.found.index, engine=engine.fingerprint
        )
        first_token_s, finish = None, None
        async with aclosing(
            engine.generate(prompt.messages, context.sampling, timeout_s=context.remaining_s())
        ) as pieces:
            async for piece in pieces:
                if first_token_s is None:
                    patience.reschedule(None)
                    first_token_s = context.elapsed_s()
                    generation.waiting_for = ""
                    generation.start(replace(context.inference, variant=variant, passages=prompt.passages))
                if isinstance(piece, Finish):
                    finish = piece
                else:
                    generation.add(piece.text)
        if finish is None:
            message = f"model {reference} ended without a finish reason"
            raise Internal(message, model=reference)
        return Generated(variant=variant, passages=prompt.passages, finish=finish, first_token_s=first_token_s)


def _variant(inference: Inference) -> Variant:
    assert inference.variant is not None  # noqa: S101 - it was reserved with one
    return inference.variant
