"""Make versions of what is offered to a dataset: the work of a worker, which may be killed at any point."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from tidemill_core.application import Caller, Clock, Request, Requeue, ResourceKey, derived_id
from tidemill_ingest.datasets.domain.dataset import Dataset
from tidemill_ingest.datasets.domain.division import Division, Minimum, Shortcoming, divide
from tidemill_ingest.datasets.domain.example import Example, group_of
from tidemill_ingest.datasets.domain.label_rules import LabelSelection, LabelUse, select
from tidemill_ingest.datasets.domain.parts import content_digest, lines_of, shared_between
from tidemill_ingest.datasets.domain.split import Split
from tidemill_ingest.datasets.domain.version import ExampleBatchOffer, Part, Statistics, VersionDraft
from tidemill_ingest.datasets.erasures import Erasures
from tidemill_ingest.datasets.ports import Batches, Datasets, ExampleMasking, Groups, Parts, ReviewQueues
from tidemill_ingest.errors import BatchAlreadyHandled, BatchUnusable, DatasetNotFound, ProjectDeleted
from tidemill_ingest.labels.ports import Labels
from tidemill_ingest.projects import Projects, require_project

PARTS_OVERLAP = "PARTS_OVERLAP"
LABEL_QUEUE_GONE = "LABEL_QUEUE_GONE"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A division, its parts as they are stored, what they look like, and why they are no version, if they are not."""

    division: Division
    train: bytes
    held_out: bytes
    digest: str
    statistics: Statistics
    short: Shortcoming | None
    label_use: LabelUse | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishVersions:
    """Emits DatasetVersionPublished or DatasetVersionWithheld for every offer, in their order.

    Objects go first, and one save after them makes the version: a kill leaves unreferenced objects, and the next
    worker makes the same ones of the same offer. Each save is void once another epoch has begun.
    """

    datasets: Datasets
    batches: Batches
    masking: ExampleMasking
    parts: Parts
    groups: Groups
    erasures: Erasures
    labels: Labels
    queues: ReviewQueues
    minimum: Minimum
    common_from: int
    """So many different questions make an answer a common one; see `divide`."""
    kept_versions: int
    clock: Clock
    projects: Projects

    async def __call__(self, name: ResourceKey, *, epoch: int) -> Requeue | None:
        """Finish every offer under a lease with this epoch; `Requeue` where a later worker was here."""
        try:
            dataset = await self._claim(name, epoch)
            while dataset.offers:
                dataset = await self._finish(name, dataset, dataset.offers[0], epoch)
        except BatchAlreadyHandled:
            return Requeue()
        except (DatasetNotFound, ProjectDeleted):
            return None
        return None

    async def _claim(self, name: ResourceKey, epoch: int) -> Dataset:
        return await self.datasets.update(
            name.project, name.id, lambda each: each.claim(epoch), request=Request.internal()
        )

    async def _finish(self, name: ResourceKey, dataset: Dataset, offer: ExampleBatchOffer, epoch: int) -> Dataset:
        try:
            # Everything after this sees the masked text alone: groups, duplicates and parts.
            offered = await self.batches.read(offer.batch)
            examples = await self.masking.mask_examples(name.project, offered)
        except BatchUnusable as error:
            return await self._withhold(name, offer, error.reason, error.message, held_out_debt=None, epoch=epoch)
        unmasked = len(offered) - len(examples)
        selection = await self._select(dataset, examples)
        if gone := await self._queues_gone(dataset):
            message = f"review queues of its label rules are gone, and labels with them: {', '.join(gone)}"
            return await self._withhold(name, offer, LABEL_QUEUE_GONE, message, held_out_debt=None, epoch=epoch)
        if selection:
            examples = [each for each in examples if each.id not in selection.left_out]
        erased = await self.erasures.among(name.project, examples)
        held_out_debt = await self._held_out_debt(name, dataset)
        made: _Made | None = None
        # What a worker that was killed has assigned for this offer is decided again, alike where nothing was erased
        # since; else what is assigned stays, and decides.
        for but_by in (offer.id, ""):
            split = await self._split(name, examples, held_out_debt, but_by=but_by)
            made = await asyncio.to_thread(
                self._made, name, dataset, examples, erased, split, unmasked=unmasked, selection=selection
            )
            require_project(self.projects, name.project)
            if await self.groups.assign(name, made.division.split.added_to(split), offer=offer.id):
                break
        assert made is not None  # noqa: S101 - it was decided at least once
        left = made.division.split.held_out_debt
        if made.short:
            return await self._withhold(
                name, offer, made.short.reason, made.short.message, held_out_debt=left, epoch=epoch
            )
        return await self._publish(name, offer, made, held_out_debt=left, epoch=epoch)

    async def _queues_gone(self, dataset: Dataset) -> Sequence[str]:
        """Return the queues of the rules that feedback has not; asked after labels are read, which go with their queue.

        Raises:
            DependencyUnavailable: feedback does not answer; the offer waits.

        """
        caller = Caller.of_service(dataset.project, "ingest")
        named = sorted({each.queue for each in dataset.label_rules})
        return [each for each in named if await self.queues.fields(caller, each) is None]

    async def _select(self, dataset: Dataset, examples: Sequence[Example]) -> LabelSelection | None:
        """Return what the rules of the dataset leave out by the labels that there are now; None without rules."""
        if not dataset.label_rules:
            return None
        changed = {each.id: each.changed_at for each in examples}
        found = await self.labels.of_examples(dataset.project, dataset.id, list(changed))
        return await asyncio.to_thread(select, dataset.label_rules, changed, found)

    async def _held_out_debt(self, name: ResourceKey, dataset: Dataset) -> int:
        """Return what rounding left over; groups that are still in one object become documents first."""
        if dataset.split is None:
            return dataset.held_out_debt
        earlier = await self.parts.split(dataset.split)
        await self.groups.assign(name, earlier.added_to(Split()), offer="")
        return earlier.held_out_debt

    async def _split(self, name: ResourceKey, examples: Sequence[Example], held_out_debt: int, *, but_by: str) -> Split:
        """Return how the groups of these examples are assigned so far."""
        groups = await asyncio.to_thread(lambda: sorted({group_of(each.asked) for each in examples}))
        assigned = await self.groups.assigned(name, groups, but_by=but_by)
        return Split(
            train=frozenset(group for group, held_out in assigned.items() if not held_out),
            held_out=frozenset(group for group, held_out in assigned.items() if held_out),
            held_out_debt=held_out_debt,
        )

    def _made(  # noqa: PLR0913 - an offer, and what is known of it
        self,
        name: ResourceKey,
        dataset: Dataset,
        examples: Sequence[Example],
        erased: Collection[str],
        split: Split,
        *,
        unmasked: int,
        selection: LabelSelection | None,
    ) -> _Made:
        """Divide and write the parts: work for the processor, done in a thread."""
        salt = f"{name.project}/{name.id}"
        division = divide(
            examples, erased=erased, split=split, share=dataset.held_out_share, salt=salt, common_from=self.common_from
        )
        return _made(division, self.minimum, common_from=self.common_from, unmasked=unmasked, selection=selection)

    async def _publish(
        self, name: ResourceKey, offer: ExampleBatchOffer, made: _Made, *, held_out_debt: int, epoch: int
    ) -> Dataset:
        division = made.division
        require_project(self.projects, name.project)
        draft = VersionDraft(
            digest=made.digest,
            train=Part(object=await self.parts.put_part(name, made.train), examples=len(division.train)),
            held_out=Part(object=await self.parts.put_part(name, made.held_out), examples=len(division.held_out)),
            statistics=made.statistics,
            label_use=made.label_use,
        )
        now, keep = self.clock.now(), self.kept_versions

        def change(dataset: Dataset) -> None:
            dataset.publish(offer, draft, held_out_debt=held_out_debt, epoch=epoch, now=now, keep=keep)

        return await self.datasets.update(name.project, name.id, change, request=_finish_request(offer))

    async def _withhold(  # noqa: PLR0913 - what is published of an offer
        self,
        name: ResourceKey,
        offer: ExampleBatchOffer,
        reason: str,
        message: str,
        *,
        held_out_debt: int | None,
        epoch: int,
    ) -> Dataset:
        now = self.clock.now()

        def change(dataset: Dataset) -> None:
            dataset.withhold(offer, reason=reason, message=message, held_out_debt=held_out_debt, epoch=epoch, now=now)

        return await self.datasets.update(name.project, name.id, change, request=_finish_request(offer))


def _made(
    division: Division, minimum: Minimum, *, common_from: int, unmasked: int, selection: LabelSelection | None
) -> _Made:
    train, held_out = lines_of(division.train), lines_of(division.held_out)
    excluded = len(selection.left_out) if selection else 0
    short = division.shortcoming(minimum)
    if short and excluded:
        short = replace(short, message=f"{short.message}; label rules leave out {excluded} more")
    shared = shared_between(train, held_out, common_from=common_from)
    if not short and shared:
        message = f"{shared} questions or answers occur in both parts: this is a bug in ingest, report it"
        short = Shortcoming(reason=PARTS_OVERLAP, message=message)
    return _Made(
        division=division,
        train=train,
        held_out=held_out,
        digest=content_digest(train, held_out),
        statistics=_statistics(division, shared=shared, unmasked=unmasked, excluded=excluded),
        short=short,
        label_use=selection.use if selection else None,
    )


def _statistics(division: Division, *, shared: int, unmasked: int, excluded: int) -> Statistics:
    kept = division.kept
    return Statistics(
        offered=division.offered + unmasked + excluded,
        duplicates=division.duplicates,
        overlap=division.overlap,
        erased=division.erased,
        groups=len({group_of(each.asked) for each in kept}),
        end_users=len({each.end_user for each in kept if each.end_user}),
        mean_output_chars=round(fmean(len(each.answer) for each in kept), 1) if kept else 0.0,
        shared=shared,
        unmasked=unmasked,
        empty=division.empty,
        excluded=excluded,
    )


def _finish_request(offer: ExampleBatchOffer) -> Request:
    """Return the one request that finishes an offer, however it ends."""
    return Request(id=derived_id("settle", offer.id), digest="")
