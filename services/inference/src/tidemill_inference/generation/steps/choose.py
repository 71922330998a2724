"""The examples that stand before one question."""

from dataclasses import dataclass, replace

from tidemill_inference.examples.ports import ChoosingExamples
from tidemill_inference.generation.steps.context import Context


@dataclass(frozen=True, slots=True)
class Choose:
    """Chooses examples where the deployment shows some; an answer that goes without them warns of it."""

    choosing: ChoosingExamples | None = None

    async def __call__(self, context: Context) -> None:
        """Choose them. They are named beside the passages, since an answer is made of both.

        Raises:
            DependencyUnavailable, ExamplesUnusable: of an evaluation, which measures nothing without them.

        """
        declared = context.step.examples
        if declared is None or self.choosing is None:
            return
        context.generation.waiting_for = "examples"
        chosen = await self.choosing(context.caller, declared, context.question)
        context.examples = chosen.examples
        context.warnings += [chosen.why_not] if chosen.why_not else []
        names = tuple(each.example.id for each in chosen.examples)
        context.found = replace(context.found, examples=names, examples_known=not chosen.why_not)
