"""Reconcile a curation: resolve new corrections, count, and complete it when its rule is met."""

import asyncio
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta

from tidemill_core.application import Caller, Clock, PageRequest, Requeue
from tidemill_feedback.curations.complete_curation import CompleteCuration
from tidemill_feedback.curations.domain.counting import Chosen, choose
from tidemill_feedback.curations.domain.curation import Curation
from tidemill_feedback.curations.domain.ledger import CandidateExample, Counts, CurationRef, Tally
from tidemill_feedback.curations.ports import CurationStore, Ledger
from tidemill_feedback.curations.resolve_examples import ResolveExamples
from tidemill_feedback.reactions.ports import FeedbackStore

_NOW = timedelta(0)
_SOON = timedelta(seconds=1)
_BATCH_SIZE = 1000
_LONG_S = 0.1
_FEW_ROWS = 1000
"""Up to so many rows are counted after each burst of corrections."""
_RESTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileCuration:
    """Runs under a lease; every step is idempotent.

    Once per incarnation of the curation, and after a change of its deployment, all corrections are listed, because
    those older than the curation count too. Rows are read only after a change.
    """

    curations: CurationStore
    feedback: FeedbackStore
    ledger: Ledger
    resolve: ResolveExamples
    complete: CompleteCuration
    clock: Clock
    at_most: int
    """How many examples a batch may have."""
    exact_rows: int
    """Corrections up to which counts are exact; above that, all are read only if a completion may be due."""
    _listed: dict[CurationRef, int] = field(default_factory=dict)
    _rest_until: dict[CurationRef, float] = field(default_factory=dict)

    async def __call__(self, caller: Caller, ref: CurationRef, *, epoch: int) -> Requeue | None:
        """Return when to reconcile again; None: after the next change, or when it is due."""
        curation = (await self.curations.get_many(ref.project, [ref.curation])).get(ref.curation)
        if curation is None or curation.ref != ref:
            self._listed.pop(ref, None)
            self._rest_until.pop(ref, None)
            await self.complete.drop(ref)
            return None
        tally = await self.ledger.tally(ref)
        if tally.batch:
            await self.complete.remove_unfinished(curation, tally.batch, epoch=epoch)
        if self._listed.get(ref) != curation.deployments:
            await self._list(curation, tally, epoch)
            tally = await self.ledger.tally(ref)
        rest = timedelta(seconds=max(0.0, self._rest_until.get(ref, 0.0) - time.monotonic()))
        counts = await self._estimated(caller, curation, tally, epoch=epoch, resting=rest > _NOW)
        exact = tally.rows > self.exact_rows or tally.seen == tally.changes
        if counts is None or curation.holds(counts, now=self.clock.now()):
            if rest > _NOW:
                return Requeue(after=rest)
            chosen = await self._counted(caller, curation, tally, epoch)
            counts, exact = chosen.counts, True
            if curation.holds(counts, now=self.clock.now()):
                return Requeue(after=_NOW if await self.complete(curation, chosen, epoch=epoch) else _SOON)
        await self._record_due(curation, counts, tally, epoch)
        if counts.pending:
            return Requeue(after=_SOON)
        return None if exact else Requeue(after=rest)

    async def _record_due(self, curation: Curation, counts: Counts, tally: Tally, epoch: int) -> None:
        """Store when the rule is met without further changes, so that any replica completes it then."""
        latest = curation.latest
        due = latest if latest and curation.holds(counts, now=latest) else None
        if due != tally.due:
            await self.ledger.record_due(curation.ref, due, epoch=epoch)

    async def _estimated(
        self, caller: Caller, curation: Curation, tally: Tally, *, epoch: int, resting: bool
    ) -> Counts | None:
        """Return the counts without reading all rows; None if all have to be read.

        Corrections since the last full count are counted as new, so that no completion is missed; the completion itself
        is decided on all rows. Where rules compare corrections, one may make examples of those that others kept out: if
        that completes the curation, the changes stay unseen until a full count. Up to `exact_rows`, the estimate is
        used during a burst only, and a full count follows.
        """
        exact = tally.rows <= self.exact_rows
        if tally.version != curation.version or (tally.counts.filtered and not tally.counts.refused):
            return None  # an earlier release did not count by reason
        if tally.seen == tally.changes and not tally.counts.pending:
            return tally.counts
        if exact and not resting:
            return None
        filters = curation.rule.filters
        rows = await self.ledger.pending(curation.ref, limit=_BATCH_SIZE)
        found = await self.resolve(caller, curation.ref, rows, filters=filters, epoch=epoch)
        resolved = [row for row in found if not row.withdrawn]
        left = sum(row.pending for row in resolved) + (len(rows) == _BATCH_SIZE)
        more = sum(filters.passes(row) and filters.selects(row) for row in resolved)
        counts = Counts(
            examples=min(tally.counts.examples + more, self.at_most),
            new=min(tally.counts.new + more, self.at_most),
            filtered=tally.counts.filtered + len(resolved) - more - sum(row.pending for row in resolved),
            pending=left,
            contested=tally.counts.contested,
            refused=tally.counts.refused,
        )
        possible = counts.at_most(self.at_most) if filters.readmits else counts
        latest = curation.latest or self.clock.now()
        undecided = possible != counts and curation.holds(possible, now=max(latest, self.clock.now()))
        seen = tally.seen if exact or undecided else tally.changes
        recorded = replace(tally, counts=counts, seen=seen, rows=tally.rows + len(rows))
        await self.ledger.record_counts(curation.ref, recorded, epoch=epoch)
        return possible

    async def _counted(self, caller: Caller, curation: Curation, tally: Tally, epoch: int) -> Chosen:
        """Count all rows. After a slow count the next one waits for twenty times its duration."""
        ref, begun = curation.ref, time.monotonic()
        filters, completions = curation.rule.filters, curation.completions
        rows = await self.resolve(caller, ref, await self.ledger.rows(ref), filters=filters, epoch=epoch)
        # In a thread, because it sorts and compares all corrections.
        chosen = await asyncio.to_thread(choose, rows, filters, completions=completions, at_most=self.at_most)
        # Before it is recorded that all were counted.
        await self.ledger.record_refusals(ref, chosen.changed, epoch=epoch)
        recorded = replace(tally, counts=chosen.counts, seen=tally.changes, rows=len(rows), version=curation.version)
        await self.ledger.record_counts(ref, recorded, epoch=epoch)
        if (took := time.monotonic() - begun) > _LONG_S and len(rows) > min(_FEW_ROWS, self.exact_rows):
            self._rest_until[ref] = time.monotonic() + _RESTS * took
        return chosen

    async def _list(self, curation: Curation, tally: Tally, epoch: int) -> None:
        """Add a row for each reaction of the deployment that counts; each process lists those since the last listing.

        How far that is says the metric with its page token; one without a metric is of the first.
        """
        listed = tally.listed if tally.deployments == curation.deployments else ""
        reached, _, token = listed.rpartition(" ")
        metrics = curation.rule.feedback
        begin = metrics.index(reached) if reached in metrics else 0
        for metric in metrics[begin:]:
            await self._list_metric(curation, metric, token, epoch)
            token = ""
        self._listed[curation.ref] = curation.deployments

    async def _list_metric(self, curation: Curation, metric: str, token: str, epoch: int) -> None:
        ref, deployments = curation.ref, curation.deployments
        while True:
            page = await self.feedback.list(
                curation.project,
                page=PageRequest(size=_BATCH_SIZE, token=token),
                where={"deployment": curation.rule.deployment, "metric": metric},
            )
            for feedback in page.items:
                if feedback.teaches:
                    await self.ledger.upsert_correction(ref, CandidateExample.of(feedback))
            if not page.next_token:
                break
            token = page.next_token
            listed = f"{metric} {token}"
            await self.ledger.record_listed(ref, deployments=deployments, token=listed, epoch=epoch)
