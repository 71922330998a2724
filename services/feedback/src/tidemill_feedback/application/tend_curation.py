"""Bring one curation forward: look at what came, count, and complete when the rule holds."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from tidemill_feedback.application.complete_curation import CompleteCuration
from tidemill_feedback.application.note_correction import wanted_of
from tidemill_feedback.application.ports import CurationStore, FeedbackStore, Ledger
from tidemill_feedback.application.resolve_examples import ResolveExamples
from tidemill_feedback.domain.curation import Curation
from tidemill_feedback.domain.feedback import FeedbackState
from tidemill_feedback.domain.ledger import CurationRef, choose
from tidemill_feedback.domain.reaction import CORRECTION
from tidemill_kit.application import Clock, PageRequest

_NOW = timedelta(0)
_SOON = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TendCuration:
    """Done under a lease; every step may be repeated.

    Once in each life of the process and of the curation, and when the deployment is another one, all corrections are
    listed, because those from before the curation was created count too.
    """

    curations: CurationStore
    feedback: FeedbackStore
    ledger: Ledger
    resolve: ResolveExamples
    complete: CompleteCuration
    clock: Clock
    at_most: int
    """How many examples a batch may have."""
    _listed: dict[CurationRef, int] = field(default_factory=dict)

    async def __call__(self, ref: CurationRef, *, epoch: int) -> timedelta | None:
        """Return after which time to look again, None for whenever something happens."""
        curation = (await self.curations.get_many(ref.project, [ref.curation])).get(ref.curation)
        if curation is None or curation.ref != ref:
            self._listed.pop(ref, None)
            await self.ledger.drop(ref)
            return None
        await self._list(curation)
        rows = await self.resolve(ref, await self.ledger.rows(ref), epoch=epoch)
        filters, completions = curation.rule.filters, curation.completions
        # In a thread, because all corrections that there ever were are sorted.
        chosen = await asyncio.to_thread(choose, rows, filters, completions=completions, at_most=self.at_most)
        await self.ledger.note_counts(ref, chosen.counts, epoch=epoch)
        if curation.holds(chosen.counts, now=self.clock.now()):
            return _NOW if await self.complete(curation, chosen, epoch=epoch) else _SOON
        if chosen.counts.pending:
            return _SOON
        left = curation.latest - self.clock.now() if curation.latest else _NOW
        return left if left > _NOW and chosen.counts.new else None

    async def _list(self, curation: Curation) -> None:
        """Want every correction of the deployment that is there, unless that was done."""
        if self._listed.get(curation.ref) == curation.deployments:
            return
        token = ""
        while True:
            page = await self.feedback.list(
                curation.project,
                page=PageRequest(size=1000, token=token),
                where={"deployment": curation.rule.deployment, "metric": CORRECTION},
            )
            for feedback in page.items:
                if feedback.state is FeedbackState.RECORDED:
                    await self.ledger.want(curation.ref, wanted_of(feedback))
            token = page.next_token
            if not token:
                break
        self._listed[curation.ref] = curation.deployments
