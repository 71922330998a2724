"""ROUGE-L beside the event loop."""

import asyncio
from collections.abc import Sequence

from tidemill_core.rouge import rouge_l


class RougeScores:
    """Implements `ports.Scores`."""

    async def rouge_l(self, reference: str, texts: Sequence[str]) -> Sequence[float]:
        """See `Scores.rouge_l`."""
        return await asyncio.to_thread(lambda: [rouge_l(reference, text) for text in texts])
