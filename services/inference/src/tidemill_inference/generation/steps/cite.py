"""The passages that support the sentences of an answer."""

from dataclasses import dataclass

from tidemill_inference.generation.citations.citations import Grounding, ground
from tidemill_inference.generation.steps.context import Context
from tidemill_kit.workers.fair_share import Turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Cite:
    """Works in a thread: many clauses and many passages take a second."""

    threshold: float
    max_characters: int
    turns: Turns

    async def __call__(self, context: Context) -> None:
        """Find what supports the texts that were generated. JSON has no sentences, nor places for citations.

        Without passages nothing supports them, and no thread is needed.
        """
        if context.question.output is not None or context.generated is None or not context.generated.passages:
            context.groundings = (Grounding(citations=(), valid=None),) * len(context.drafts)
            return
        context.groundings = await self.turns.in_thread(
            context.caller.project, lambda: tuple(self._grounded(context, draft.text) for draft in context.drafts)
        )

    def _grounded(self, context: Context, text: str) -> Grounding:
        passages = context.generated.passages if context.generated else ()
        if passages and len(text) > self.max_characters:
            context.warnings.append(f"citations end after {self.max_characters} of {len(text)} characters")
        return ground(text, passages, threshold=self.threshold, max_characters=self.max_characters)
