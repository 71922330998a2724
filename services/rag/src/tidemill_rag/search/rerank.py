"""The best passages in the order of a model that reads each together with the question."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_core.errors import TidemillError, isolated
from tidemill_rag.collections.domain.search_settings import Rerank
from tidemill_rag.embedding.ports import Rerankers
from tidemill_rag.metrics import RERANK_SECONDS
from tidemill_rag.vectors.ports import Match

_log = logging.getLogger(__name__)
_LATE = (
    "not reranked: the model took longer than {:g} s for {} passages: it is being loaded, or use a smaller one or fewer"
    " candidates"
)
_FAILED = "not reranked: the model cannot be used: {}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankMatches:
    """A search without its reranker is better than none: what fails or is late is a warning."""

    rerankers: Rerankers
    timeout_s: float

    async def __call__(
        self, caller: Caller, owner: Caller, settings: Rerank, question: str, matches: Sequence[Match]
    ) -> tuple[Sequence[Match], str]:
        """Return the matches, the first `candidates` of them by the model, and what to warn of, "" for nothing.

        The model is one of the owner's registry, and is not named; its work is the caller's.
        """
        chosen = matches[: settings.reads]
        if not chosen:
            return matches, ""
        began, outcome = time.perf_counter(), "failed"
        try:
            with isolated():
                async with asyncio.timeout(self.timeout_s):
                    reranker = await self.rerankers.load(owner, settings.model)  # goes on loading for the next search
                    scores = await reranker.scores(caller.project, question, [_read(match) for match in chosen])
            outcome = "completed"
        except TimeoutError:
            outcome = "late"
            return matches, _LATE.format(self.timeout_s, len(chosen))
        except TidemillError as error:
            return matches, _FAILED.format(error.reason)
        except Exception as error:  # noqa: BLE001 - whatever a model's files make torch raise; the search goes on
            _log.warning("reranking_failed: %s: %s", settings.model, type(error).__name__)
            return matches, _FAILED.format("MODEL_BROKEN")
        finally:
            RERANK_SECONDS.labels(outcome).observe(time.perf_counter() - began)
        scored = [replace(match, rerank_score=score) for match, score in zip(chosen, scores, strict=True)]
        scored.sort(key=lambda match: -(match.rerank_score or 0.0))
        return [*scored, *matches[settings.reads :]], ""


def _read(match: Match) -> str:
    title, text = match.payload.title, match.payload.text
    return f"{title}\n{text}" if title else text
